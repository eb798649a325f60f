// The chat page: puts the parts together and holds which conversation is open.
import { plainWords } from '../api';
import mark from '../icon.svg';
import { announce, el, iconButton, replace } from '../dom';
import { formatNumber, t } from '../i18n';
import { bindKeys, showKeys } from '../keys';
import { Composer } from './composer';
import { modelInfo, type ModelInfo } from './generation';
import { MessageView } from './messages';
import { Run } from './runs';
import { Sidebar } from './sidebar';
import { newId, storageUse, Store, type Attachment, type Conversation, type Message } from './store';
import { MessageTree } from './tree';

const kNearBottom = 120; // pixels: closer than that, the view follows the text
const kNearlyFull = 0.9;
const kTitle = 60; // characters
const kNew = 'new'; // whose drafts survive a reload, although it has no id yet

// Markdown comes after the first paint; an answer waits for it, typing does not.
const markdown = () => import('./stream_view');

export class ChatPage {
  readonly node: HTMLElement;
  private readonly composer: Composer;
  private readonly sidebar: Sidebar;
  private readonly list = el('div', { class: 'messages' });
  private readonly scroller = el('div', { class: 'scroller', tabindex: '-1' });
  private readonly title = el('h1', { class: 'title' });
  private readonly banner = el('div', { class: 'banner', role: 'alert' });
  private readonly chip = el('span', { class: 'chip' });
  private readonly runs = new Map<string, Run>();
  private readonly views = new Map<string, MessageView>();
  private readonly unsaved = new Map<string, Message>(); // for want of room
  private conversation: Conversation;
  private tree = new MessageTree([]);
  private model: ModelInfo | null = null;
  private unbind: () => void = () => undefined;
  private following = true; // the view stays at the end of the text

  constructor(private readonly store: Store, private readonly toMonitor: () => void) {
    this.conversation = this.blank();
    this.composer = new Composer({
      send: (text, files) => void this.send(text, files),
      stop: () => this.run?.stop(),
      editLast: () => this.editLast(),
    });
    this.sidebar = new Sidebar(store, {
      open: (conversation) => void this.open(conversation),
      create: () => void this.create(),
      removed: (conversation) => this.onRemoved(conversation),
      renamed: (conversation) => {
        if (conversation.id !== this.conversation.id) return;
        this.conversation.title = conversation.title;
        this.showTitle();
      },
      settings: () => void this.settings(),
      help: showKeys,
      monitor: toMonitor,
    });
    this.scroller.append(this.list);
    this.scroller.addEventListener('scroll', () => {
      const { scrollHeight, scrollTop, clientHeight } = this.scroller;
      this.following = scrollHeight - scrollTop - clientHeight < kNearBottom;
    }, { passive: true });
    this.node = el('div', { class: 'chat' }, this.sidebar.node,
      el('main', {},
        el('header', { class: 'top' },
          iconButton('menu', t.menu, () => this.node.classList.toggle('menu-open'), { id: 'toggle-menu', 'aria-controls': 'sidebar' }),
          this.title, this.chip,
          iconButton('pulse', t.monitor, toMonitor), iconButton('gear', t.settings, () => void this.settings())),
        this.banner, this.scroller, this.composer.node));
    this.node.querySelector('main')!.addEventListener('pointerdown', (event) => {
      if (!(event.target as Element).closest('#toggle-menu')) this.node.classList.remove('menu-open');
    });
    store.onChangeElsewhere(() => void this.sidebar.refresh());
    window.addEventListener('pagehide', () => this.runs.forEach((run) => void run.save()));
    if (!store.persistent) this.warn(t.error.storage);
  }

  async start(): Promise<void> {
    this.show();
    const asked = new URLSearchParams(location.search).get('q');
    const last = asked === null ? localStorage.getItem('serval.open') : null;
    const known = last ? (await this.store.conversations()).find((c) => c.id === last) : undefined;
    if (known) await this.open(known);
    else await this.sidebar.refresh(this.conversation.id);
    if (asked !== null) this.composer.prefill(asked);
    const idle = window.requestIdleCallback ?? ((action: () => void) => setTimeout(action, 50));
    idle(() => void markdown());
    void this.loadModel();
  }

  shown(): void {
    this.unbind = bindKeys({
      Escape: () => {
        this.run?.stop();
        this.node.classList.remove('menu-open');
      },
      'ctrl+k': () => this.search(),
      n: () => void this.create(),
      '[': () => this.step(-1),
      ']': () => this.step(1),
      'g m': this.toMonitor,
      '?': showKeys,
    });
    document.title = `${this.conversation.title || t.untitled} · Serval`;
    this.composer.focus();
  }

  hidden(): void {
    this.unbind();
  }

  private get run(): Run | undefined {
    return this.runs.get(this.conversation.id);
  }

  private blank(): Conversation {
    const now = Date.now();
    const last = localStorage.getItem('serval.last');
    const { system = '', sampling = {} } = last ? JSON.parse(last) : {};
    return { id: newId(), title: '', created: now, updated: now, leaf: null, system, sampling };
  }

  private async loadModel(): Promise<void> {
    try {
      this.model = await modelInfo();
      this.chip.textContent = this.model.name;
      this.warn(this.store.persistent ? '' : t.error.storage);
      if (this.tree.all().length === 0) this.showEmpty();
    } catch (error) {
      this.warn(plainWords(error));
    }
    const use = await storageUse();
    if (use && use.share > kNearlyFull) this.warn(t.error.nearlyFull);
  }

  private warn(text: string): void {
    this.banner.textContent = text;
  }

  // ---- Which conversation

  private async create(): Promise<void> {
    this.conversation = this.blank();
    this.tree = new MessageTree([]);
    localStorage.removeItem('serval.open');
    this.show();
    await this.sidebar.refresh(this.conversation.id);
  }

  private async open(conversation: Conversation): Promise<void> {
    const run = this.runs.get(conversation.id);
    this.conversation = run?.conversation ?? conversation;
    this.tree = run?.tree ?? new MessageTree(await this.store.messages(conversation.id));
    localStorage.setItem('serval.open', conversation.id);
    this.show();
    await this.sidebar.refresh(conversation.id);
  }

  private onRemoved(conversation: Conversation): void {
    this.runs.get(conversation.id)?.stop();
    if (conversation.id === this.conversation.id) void this.create();
  }

  private show(): void {
    this.node.classList.remove('menu-open');
    this.showTitle();
    this.composer.open(this.tree.all().length > 0 ? this.conversation.id : kNew);
    this.showMessages();
    this.toEnd();
    this.composer.focus();
  }

  private showTitle(): void {
    this.title.textContent = this.conversation.title || t.untitled;
    document.title = `${this.title.textContent} · Serval`;
  }

  private showEmpty(): void {
    const suggestions = t.suggestions.map((text) =>
      el('button', { type: 'button', class: 'suggestion', onclick: () => this.composer.prefill(text) }, text));
    replace(this.list, el('section', { class: 'greeting' },
      el('img', { src: mark, alt: '', width: '56', height: '56' }),
      el('h2', {}, t.greeting),
      el('p', { class: 'dim' }, this.model ? t.runsHere(this.model.name) : '\u00a0'),
      el('div', { class: 'suggestions' }, ...suggestions)));
  }

  private showMessages(): void {
    this.views.clear();
    const path = this.tree.path(this.conversation.leaf);
    for (const run of this.runs.values()) run.events = null;
    if (path.length === 0) this.showEmpty();
    else replace(this.list, ...path.map((message) => this.viewOf(message).node));
    this.composer.setBusy(this.run !== undefined);
    this.showContext(path);
  }

  private viewOf(message: Message): MessageView {
    const view = new MessageView(message, this.tree.siblings(message), {
      again: (m) => void this.again(m),
      carryOn: (m) => void this.answer(m.parent, m.text),
      edited: (m, text) => void this.send(text, m.attachments ?? [], m.parent),
      show: (m) => void this.showBranch(m),
      probabilities: (m, body) => void this.probabilities(m, body),
    });
    this.views.set(message.id, view);
    if (message.role === 'assistant') {
      const run = this.run;
      if (run?.message === message) this.attach(run, view);
      else void this.draw(message, view);
    }
    return view;
  }

  private async draw(message: Message, view: MessageView): Promise<void> {
    const { StreamView } = await markdown();
    const { conversation } = this;
    const text = new StreamView(() => this.follow(conversation));
    text.set(message.text);
    view.body.replaceChildren(text.node);
    this.follow(conversation);
  }

  private showContext(path: Message[]): void {
    const stats = path[path.length - 1]?.stats;
    this.composer.setStatus(stats && this.model
      ? t.stats.context(formatNumber(stats.promptTokens + stats.tokens), formatNumber(this.model.context)) : '');
  }

  // ---- Sending and answering

  // Under the parent of an edited message, or at the end of what is shown.
  private async send(text: string, attachments: Attachment[], parent = this.lastShown()): Promise<void> {
    const { conversation, tree } = this;
    if (this.run) {
      this.composer.prefill(text); // later: an answer is under way
      return;
    }
    const message: Message = {
      id: newId(), conversation: conversation.id, parent, role: 'user', text, created: Date.now(), state: 'done',
      ...(attachments.length > 0 ? { attachments } : {}),
    };
    this.composer.setBusy(true); // from the key on, not only once the message is kept
    tree.add(message);
    conversation.title ||= (text || attachments[0].name).replace(/\s+/g, ' ').slice(0, kTitle);
    await this.keep(conversation, message);
    this.composer.keepDraftsFor(conversation.id);
    localStorage.setItem('serval.open', conversation.id);
    void this.sidebar.refresh(conversation.id);
    void navigator.storage?.persist?.().catch(() => false);
    if (conversation === this.conversation) await this.answer(message.id, '');
  }

  private lastShown(): string | null {
    return this.tree.path(this.conversation.leaf).at(-1)?.id ?? null;
  }

  private async again(message: Message): Promise<void> {
    await this.answer(message.parent, '');
  }

  // Another answer to `parent`, which begins with `prefix`.
  private async answer(parent: string | null, prefix: string): Promise<void> {
    if (this.run) return;
    const { conversation, tree } = this;
    const { StreamView } = await markdown();
    const message: Message = {
      id: newId(), conversation: conversation.id, parent, role: 'assistant', text: prefix, created: Date.now(), state: 'writing',
    };
    const run: Run = new Run(this.store, conversation, tree, message, new StreamView(() => {
      run.painted();
      this.follow(conversation);
    }));
    tree.add(message);
    this.runs.set(conversation.id, run);
    if (conversation === this.conversation) this.composer.setBusy(true);
    await this.keep(conversation, message);
    if (conversation === this.conversation) {
      this.showTitle();
      this.showMessages();
      this.toEnd();
    }
    announce(t.answering);
    await run.answer();
    this.runs.delete(conversation.id);
    if (conversation !== this.conversation) return;
    this.composer.setBusy(false);
    this.views.get(message.id)?.refresh(false);
    this.follow(conversation);
    this.showContext(tree.path(message.id));
    announce(message.state === 'failed' ? (message.error ?? '') : message.state === 'stopped' ? t.stopped : t.finished);
  }

  private attach(run: Run, view: MessageView): void {
    view.body.replaceChildren(run.view.node);
    view.refresh(true);
    if (!run.message.stats) view.setNote(t.waiting);
    run.events = {
      progress: (percent) => view.setNote(percent < 100 ? t.reading(percent) : ''),
      live: (stats) => {
        view.setNote('');
        view.setStats(stats);
      },
      saved: (error) => this.onSaved(error),
    };
  }

  private follow(conversation: Conversation): void {
    if (conversation === this.conversation && this.following) this.scroller.scrollTop = this.scroller.scrollHeight;
  }

  private toEnd(): void {
    this.following = true;
    this.scroller.scrollTop = this.scroller.scrollHeight;
  }

  // Saves a message and makes it the end of the shown path. What cannot be saved stays on the page and is tried again
  // with every later message: there may be room by then.
  private async keep(conversation: Conversation, message: Message): Promise<void> {
    conversation.leaf = message.id;
    conversation.updated = Date.now();
    await this.store.save(conversation, message).catch(() => this.unsaved.set(message.id, message));
    for (const old of this.unsaved.values()) {
      if (old !== message) await this.store.saveMessage(old).then(() => this.unsaved.delete(old.id), () => undefined);
    }
    this.onSaved(null);
  }

  private onSaved(error: unknown): void {
    if (error || this.unsaved.size > 0) this.warn(t.error.quota);
    else if (this.banner.textContent === t.error.quota) this.warn('');
  }

  // ---- Branches

  private async showBranch(sibling: Message): Promise<void> {
    if (this.run) return;
    this.conversation.leaf = this.tree.newestBelow(sibling.id)?.id ?? sibling.id;
    const top = this.scroller.scrollTop;
    this.showMessages();
    this.scroller.scrollTop = top;
    const siblings = this.tree.siblings(sibling);
    announce(t.branch(siblings.indexOf(sibling) + 1, siblings.length));
    await this.store.save(this.conversation).catch((error) => this.onSaved(error));
  }

  private step(by: number): void {
    const path = this.tree.path(this.conversation.leaf);
    const forked = path.reverse().find((m) => this.tree.siblings(m).length > 1);
    if (!forked) return;
    const siblings = this.tree.siblings(forked);
    const to = siblings[siblings.indexOf(forked) + by];
    if (to) void this.showBranch(to);
  }

  private editLast(): void {
    const own = this.tree.path(this.conversation.leaf).filter((m) => m.role === 'user').at(-1);
    if (own && !this.run) this.views.get(own.id)?.edit();
  }

  private async probabilities(message: Message, body: HTMLElement): Promise<void> {
    if (body.querySelector('.probs')) {
      await this.draw(message, this.views.get(message.id)!);
      return;
    }
    const { probabilityView } = await import('./probs');
    const path = this.tree.path(message.parent);
    body.replaceChildren(probabilityView(this.conversation, path, message, (prefix) => void this.answer(message.parent, prefix)));
  }

  // ---- Around it

  private search(): void {
    this.node.classList.add('menu-open');
    this.sidebar.focusSearch();
  }

  private async settings(): Promise<void> {
    const { showSettings } = await import('./settings');
    const { conversation } = this;
    showSettings(this.store, conversation, this.model, {
      changed: () => {
        localStorage.setItem('serval.last', JSON.stringify({ system: conversation.system, sampling: conversation.sampling }));
        if (conversation.leaf !== null) void this.store.save(conversation).catch((error) => this.onSaved(error));
      },
      imported: () => void this.sidebar.refresh(),
    });
  }
}

// How one message looks, with everything one can do to it.
import { copyText, el, icon, iconButton, toast, type IconName } from '../dom';
import { formatNumber, formatShort, t } from '../i18n';
import type { Message, Stats } from './store';

export interface MessageActions {
  again(message: Message): void;
  carryOn(message: Message): void;
  edited(message: Message, text: string): void;
  show(sibling: Message): void;
  probabilities(message: Message, body: HTMLElement): void;
}

export function statsLine(stats: Stats): string {
  const parts = [];
  if (stats.perSecond > 0) parts.push(t.stats.speed(formatShort(stats.perSecond)));
  if (stats.firstMs > 0) parts.push(t.stats.first(formatShort(stats.firstMs / 1000)));
  if (stats.promptTokens > 0) parts.push(t.stats.cached(Math.round((100 * stats.cachedTokens) / stats.promptTokens)));
  parts.push(t.stats.tokens(formatNumber(stats.tokens)));
  return parts.join(' · ');
}

export class MessageView {
  readonly node: HTMLElement;
  readonly body = el('div', { class: 'body' });
  private readonly stats = el('span', { class: 'stats dim' });
  private readonly note = el('p', { class: 'note' });
  private readonly bar = el('div', { class: 'actions' });

  constructor(
    readonly message: Message,
    private readonly siblings: Message[],
    private readonly actions: MessageActions,
  ) {
    const own = message.role === 'user';
    this.node = el('article', { class: `message ${message.role}`, 'aria-label': own ? t.you : t.assistant, 'data-id': message.id },
      this.body, this.note, el('footer', {}, this.bar, this.stats));
    if (own) this.showOwn();
    this.refresh(false);
  }

  private showOwn(): void {
    const files = (this.message.attachments ?? []).map((file) =>
      el('details', { class: 'attached' }, el('summary', {}, icon('clip'), el('bdi', {}, file.name)), el('pre', { tabindex: '0' }, file.text)));
    this.body.replaceChildren(...files, el('p', { class: 'own', dir: 'auto' }, this.message.text));
  }

  setNote(text: string, fault = false): void {
    this.note.textContent = text;
    this.note.classList.toggle('fault', fault);
  }

  setStats(stats: Stats): void {
    this.stats.textContent = statsLine(stats);
  }

  // After the message changed its state.
  refresh(running: boolean): void {
    const { message } = this;
    this.node.setAttribute('aria-busy', String(running));
    if (message.stats) this.setStats(message.stats);
    if (!running) {
      this.setNote(
        message.state === 'failed' ? (message.error ?? t.interrupted)
          : message.state === 'writing' ? t.interrupted
            : message.state === 'length' ? t.lengthReached
              : message.state === 'stopped' ? t.stopped : '',
        message.state === 'failed');
    }
    this.bar.replaceChildren(...(running ? [] : this.buttons()));
  }

  private buttons(): HTMLElement[] {
    const { message, actions } = this;
    const out: HTMLElement[] = [];
    const add = (name: IconName, label: string, action: () => void) => out.push(iconButton(name, label, action));
    // What makes a branch is written out where there is room: nobody guesses it from a pencil or an arrow.
    const addNamed = (name: IconName, label: string, action: () => void) => {
      add(name, label, action);
      out[out.length - 1].append(el('span', { class: 'word' }, label));
    };
    if (this.siblings.length > 1) out.push(this.branches());
    add('copy', t.copy, () => void copyText(message.text).then(() => toast(t.copied)));
    if (message.role === 'user') {
      addNamed('edit', t.edit, () => this.edit());
      return out;
    }
    addNamed('again', t.again, () => actions.again(message));
    if (message.state !== 'done' && message.text) addNamed('go', t.carryOn, () => actions.carryOn(message));
    if (message.text) add('bars', t.probabilities, () => actions.probabilities(message, this.body));
    return out;
  }

  private branches(): HTMLElement {
    const at = this.siblings.indexOf(this.message);
    const step = (name: 'left' | 'right', label: string, to: Message | undefined) =>
      iconButton(name, label, () => to && this.actions.show(to), { disabled: !to });
    return el('span', { class: 'branches' },
      step('left', t.previous, this.siblings[at - 1]),
      el('span', { 'aria-label': t.branch(at + 1, this.siblings.length) }, `${at + 1}/${this.siblings.length}`),
      step('right', t.next, this.siblings[at + 1]));
  }

  edit(): void {
    const box = el('textarea', { class: 'edit-box', 'aria-label': t.edit, dir: 'auto', rows: String(Math.min(12, this.message.text.split('\n').length + 1)) });
    box.value = this.message.text;
    const close = () => {
      this.showOwn();
      this.refresh(false);
    };
    const send = () => {
      const text = box.value.trim();
      close();
      if (text) this.actions.edited(this.message, text);
    };
    box.addEventListener('keydown', (event) => {
      if (event.key === 'Escape') {
        event.stopPropagation();
        close();
      } else if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        send();
      }
    });
    this.body.replaceChildren(box, el('div', { class: 'buttons' },
      el('button', { type: 'button', onclick: close }, t.cancel),
      el('button', { type: 'button', class: 'primary', onclick: send }, t.sendEdited)));
    this.bar.replaceChildren();
    box.focus();
  }
}

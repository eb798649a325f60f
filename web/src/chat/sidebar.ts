// The list of conversations, with search, renaming and deletion.
import { el, iconButton } from '../dom';
import mark from '../icon.svg';
import { formatTime, t } from '../i18n';
import type { Conversation, Store } from './store';

export interface SidebarActions {
  open(conversation: Conversation): void;
  create(): void;
  removed(conversation: Conversation): void;
  renamed(conversation: Conversation): void;
  settings(): void;
  help(): void;
  monitor(): void;
}

const kSearchDelay = 150; // ms after the last key

export class Sidebar {
  readonly node: HTMLElement;
  private readonly list = el('ul', { class: 'conversations' });
  private readonly field: HTMLInputElement;
  private current = '';
  private timer = 0;

  constructor(private readonly store: Store, private readonly actions: SidebarActions) {
    this.field = el('input', {
      type: 'search', class: 'search', placeholder: t.search, 'aria-label': t.search, spellcheck: 'false',
      oninput: () => {
        clearTimeout(this.timer);
        this.timer = window.setTimeout(() => void this.refresh(), kSearchDelay);
      },
    });
    this.node = el('nav', { class: 'sidebar', id: 'sidebar', 'aria-label': t.conversations },
      el('div', { class: 'brand' }, el('img', { src: mark, alt: '', width: '26', height: '26' }), el('span', {}, 'Serval')),
      el('button', { type: 'button', class: 'new-chat', id: 'new-chat', onclick: () => actions.create() }, t.newChat),
      this.field, this.list,
      el('div', { class: 'sidebar-foot' },
        el('a', { href: '/monitor', id: 'to-monitor', onclick: (event: Event) => { event.preventDefault(); actions.monitor(); } }, t.monitor),
        el('button', { type: 'button', class: 'quiet', id: 'open-settings', onclick: () => actions.settings() }, t.settings),
        iconButton('help', t.help, () => actions.help())));
  }

  focusSearch(): void {
    this.field.focus();
    this.field.select();
  }

  async refresh(current = this.current): Promise<void> {
    this.current = current;
    const words = this.field.value.trim();
    let all = await this.store.conversations();
    const any = all.length > 0;
    if (words) {
      const inText = await this.store.search(words);
      all = all.filter((c) => inText.has(c.id) || c.title.toLowerCase().includes(words.toLowerCase()));
    }
    if (all.length > 0) this.list.replaceChildren(...all.map((c) => this.row(c)));
    else this.list.replaceChildren(el('li', { class: 'dim empty' }, any ? t.noMatch : t.noConversations));
  }

  private row(conversation: Conversation): HTMLElement {
    const here = conversation.id === this.current;
    const title = conversation.title || t.untitled;
    const row = el('li', { class: here ? 'current' : '' },
      el('button', {
        type: 'button', class: 'conversation', 'aria-current': here ? 'page' : null, title: formatTime(conversation.updated),
        onclick: () => this.actions.open(conversation),
      }, el('bdi', {}, title)),
      iconButton('edit', `${t.rename}: ${title}`, () => this.rename(row, conversation)),
      iconButton('trash', `${t.remove}: ${title}`, () => this.askRemove(conversation, title)));
    return row;
  }

  private rename(row: HTMLElement, conversation: Conversation): void {
    const field = el('input', { class: 'rename', 'aria-label': t.rename, maxlength: '200' });
    field.value = conversation.title;
    let over = false;
    const done = async (keep: boolean) => {
      if (over) return;
      over = true;
      if (keep && field.value.trim()) {
        conversation.title = field.value.trim();
        await this.store.save(conversation);
        this.actions.renamed(conversation);
      }
      await this.refresh();
    };
    field.addEventListener('keydown', (event) => {
      event.stopPropagation();
      if (event.key === 'Enter') void done(true);
      if (event.key === 'Escape') void done(false);
    });
    field.addEventListener('blur', () => void done(true));
    row.replaceChildren(field);
    field.focus();
  }

  private askRemove(conversation: Conversation, title: string): void {
    const dialog = el('dialog', { class: 'dialog small', 'aria-labelledby': 'remove-title' },
      el('form', { method: 'dialog' },
        el('h2', { id: 'remove-title' }, t.removeAsk(title)),
        el('div', { class: 'buttons' },
          el('button', { value: 'no' }, t.cancel),
          el('button', { value: 'yes', class: 'danger' }, t.remove))));
    dialog.addEventListener('close', () => {
      dialog.remove();
      if (dialog.returnValue !== 'yes') return;
      void this.store.remove(conversation.id).then(() => {
        this.actions.removed(conversation);
        return this.refresh();
      });
    });
    document.body.append(dialog);
    dialog.showModal();
  }
}

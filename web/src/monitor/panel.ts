// A panel: heading, drawing, and the same as a table for those who cannot see it ("t" switches all of them).
import { el, iconButton } from '../dom';
import { m } from './texts';

export type Cell = string | number | HTMLElement;

export function dataTable(caption: string, head: string[], rows: Cell[][]): HTMLElement {
  return el('div', { class: 'table-scroll', tabindex: '0', role: 'group', 'aria-label': caption },
    el('table', { class: 'data' },
      el('caption', { class: 'offscreen' }, caption),
      el('thead', {}, el('tr', {}, ...head.map((text) => el('th', { scope: 'col' }, text)))),
      el('tbody', {}, ...rows.map((row) => el('tr', {}, ...row.map((cell) => el('td', {}, cell)))))));
}

export class Panel {
  readonly node: HTMLElement;
  readonly body = el('div', { class: 'panel-body' });
  private readonly twin = el('div', { class: 'panel-twin', hidden: true });
  private readonly button: HTMLButtonElement;

  // `table` makes the twin; `note` stands beside the heading.
  constructor(title: string, extra: string, private readonly table: () => HTMLElement, readonly note = el('span', { class: 'dim panel-note' })) {
    this.button = iconButton('table', m.asTable(title), () => this.showTable(Boolean(this.twin.hidden)), { 'aria-pressed': 'false' });
    this.node = el('section', { class: `panel ${extra}`, 'aria-label': title },
      el('header', {}, el('h2', {}, title), note, this.button), this.body, this.twin);
  }

  get tableShown(): boolean {
    return !this.twin.hidden;
  }

  showTable(shown: boolean): void {
    this.twin.hidden = !shown;
    this.body.hidden = shown;
    this.button.setAttribute('aria-pressed', String(shown));
    this.refreshTable();
  }

  refreshTable(): void {
    if (this.twin.hidden) return;
    const top = this.twin.firstElementChild?.scrollTop ?? 0;
    this.twin.replaceChildren(this.table());
    this.twin.firstElementChild!.scrollTop = top;
  }
}

// Keyboard shortcuts. Single letters only count outside of text fields, and can be switched off in the settings.
import { el } from './dom';
import { t } from './i18n';

export const kShortcutsOff = 'serval.shortcuts.off';

type Action = () => void;
export type KeyMap = Record<string, Action>; // "Escape", "ctrl+k", "n", "g m"

const kSequenceMs = 1200;

// Returns a function that ends it.
export function bindKeys(keys: KeyMap): Action {
  let first = '';
  let timer = 0;
  const onKey = (event: KeyboardEvent) => {
    if (event.defaultPrevented || event.isComposing || document.querySelector('dialog[open]')) return;
    const target = event.target as HTMLElement;
    const typing = target.matches('input, textarea, select, [contenteditable]');
    const plain = !event.ctrlKey && !event.metaKey && !event.altKey;
    const named = event.key.length > 1 && event.key !== ' ';
    if (plain && !named && (typing || localStorage.getItem(kShortcutsOff))) return;
    if (event.key === ' ' && target.matches('button, a, summary')) return;
    const name = plain ? event.key : event.ctrlKey || event.metaKey ? `ctrl+${event.key.toLowerCase()}` : '';
    const action = keys[`${first} ${name}`] ?? keys[name];
    first = '';
    clearTimeout(timer);
    if (action) {
      event.preventDefault();
      action();
    } else if (plain && Object.keys(keys).some((key) => key.startsWith(`${name} `))) {
      first = name;
      timer = window.setTimeout(() => (first = ''), kSequenceMs);
    }
  };
  document.addEventListener('keydown', onKey);
  return () => document.removeEventListener('keydown', onKey);
}

export function showKeys(): void {
  const rows = t.keys.list.map(([keys, what]) => el('tr', {}, el('th', { scope: 'row' }, el('kbd', {}, keys)), el('td', {}, what)));
  const dialog = el('dialog', { class: 'dialog', 'aria-labelledby': 'keys-title' },
    el('h2', { id: 'keys-title' }, t.keys.title),
    el('table', { class: 'keys' }, el('tbody', {}, ...rows)),
    el('div', { class: 'buttons' }, el('button', { type: 'button', class: 'primary', onclick: () => dialog.close() }, t.close)));
  dialog.addEventListener('close', () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

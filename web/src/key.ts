// The key lives in this tab's session storage. Several calls that need one at once share one dialog.
import { el } from './dom';
import { t } from './i18n';

const kItem = 'serval.key';

export function storedKey(): string {
  return sessionStorage.getItem(kItem) ?? '';
}

export function storeKey(key: string): void {
  if (key) sessionStorage.setItem(kItem, key);
  else sessionStorage.removeItem(kItem);
}

let open: Promise<boolean> | null = null;

// True once a key was entered; false when the person closed the dialog.
export function askForKey(why: 'none' | 'wrong' | 'admin'): Promise<boolean> {
  open ??= show(why).finally(() => (open = null));
  return open;
}

function show(why: 'none' | 'wrong' | 'admin'): Promise<boolean> {
  return new Promise((resolve) => {
    const input = el('input', {
      type: 'password', id: 'key-input', autocomplete: 'off', spellcheck: 'false', required: true,
    });
    const submit = (event: Event) => {
      event.preventDefault();
      storeKey(input.value.trim());
      dialog.close('entered');
    };
    const dialog = el('dialog', { class: 'dialog small', 'aria-labelledby': 'key-title' },
      el('form', { onsubmit: submit },
        el('h2', { id: 'key-title' }, t.key.title),
        el('p', {}, why === 'wrong' ? t.key.wrong : why === 'admin' ? t.key.admin : t.key.why),
        el('label', { for: 'key-input' }, t.key.label),
        input,
        el('p', { class: 'dim' }, t.key.where),
        el('div', { class: 'buttons' },
          el('button', { type: 'button', onclick: () => dialog.close() }, t.cancel),
          el('button', { type: 'submit', class: 'primary' }, t.key.use))));
    dialog.addEventListener('close', () => {
      dialog.remove();
      resolve(dialog.returnValue === 'entered');
    });
    document.body.append(dialog);
    dialog.showModal();
    input.focus();
  });
}

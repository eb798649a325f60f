// The settings dialog: this conversation, this page, the conversations as files.
import { ApiError, plainWords } from '../api';
import { download, el, toast } from '../dom';
import { formatBytes, formatNumber, kLanguages, language, t } from '../i18n';
import { askForKey } from '../key';
import { kShortcutsOff } from '../keys';
import { applyTheme, chosenTheme, type Theme } from '../theme';
import type { ModelInfo } from './generation';
import { storageUse, type Conversation, type Sampling, type Store } from './store';
import { exportAll, importAll } from './transfer';

type FieldName = keyof Sampling;
// name, least, most, step
const kFields: [FieldName, number, number, number | 'any'][] = [
  ['temperature', 0, 5, 'any'],
  ['top_k', 0, 100000, 1],
  ['top_p', 0, 1, 'any'],
  ['min_p', 0, 1, 'any'],
  ['repeat_penalty', 0.001, 10, 'any'],
  ['presence_penalty', -2, 2, 'any'],
  ['frequency_penalty', -2, 2, 'any'],
  ['max_tokens', 1, 1000000, 1],
  ['seed', 0, 4294967295, 1],
];

export interface SettingsActions {
  changed(): void; // system prompt or sampling
  imported(): void;
}

function samplingFields(conversation: Conversation, model: ModelInfo | null, changed: () => void): HTMLElement {
  const grid = el('div', { class: 'field-grid' });
  const inputs: HTMLInputElement[] = [];
  for (const [name, min, max, step] of kFields) {
    const standard = model?.defaults[name];
    const input = el('input', {
      type: 'number', id: `set-${name}`, min, max, step,
      placeholder: standard === undefined ? t.set.serverDefault : `${Math.round(standard * 1e6) / 1e6}`,
      oninput: () => {
        if (!input.checkValidity()) return;
        conversation.sampling[name] = input.value === '' ? undefined : Number(input.value);
        changed();
      },
    });
    input.value = conversation.sampling[name]?.toString() ?? '';
    inputs.push(input);
    grid.append(el('div', { class: 'field' }, el('label', { for: input.id }, t.set[name]), input));
  }
  const reset = () => {
    conversation.sampling = {};
    for (const input of inputs) input.value = '';
    changed();
  };
  return el('fieldset', {}, el('legend', {}, t.set.sampling), el('p', { class: 'dim' }, t.set.samplingHint), grid,
    el('button', { type: 'button', onclick: reset }, t.set.reset));
}

function chooser(id: string, label: string, options: Record<string, string>, value: string, choose: (value: string) => void): HTMLElement {
  const select = el('select', { id, onchange: () => choose(select.value) },
    ...Object.entries(options).map(([key, text]) => el('option', { value: key, selected: key === value }, text)));
  return el('div', { class: 'field' }, el('label', { for: id }, label), select);
}

function pageFields(): HTMLElement {
  const shortcuts = el('input', { type: 'checkbox', id: 'set-shortcuts', checked: !localStorage.getItem(kShortcutsOff) });
  shortcuts.addEventListener('change', () => {
    if (shortcuts.checked) localStorage.removeItem(kShortcutsOff);
    else localStorage.setItem(kShortcutsOff, '1');
  });
  return el('fieldset', {}, el('legend', {}, t.set.page),
    el('div', { class: 'field-grid' },
      chooser('set-theme', t.set.theme, t.set.themes, chosenTheme(), (value) => applyTheme(value as Theme)),
      chooser('set-language', t.set.language, kLanguages, language, (value) => {
        localStorage.setItem('serval.language', value);
        location.reload();
      })),
    el('div', { class: 'check' }, shortcuts, el('label', { for: 'set-shortcuts' }, t.set.keys)),
    el('button', { type: 'button', onclick: () => void askForKey('none') }, t.key.change));
}

function dataFields(store: Store, imported: () => void): HTMLElement {
  const hint = el('p', { class: 'dim' });
  void Promise.all([store.conversations(), storageUse()]).then(([list, use]) => {
    hint.textContent = t.set.dataHint(formatNumber(list.length), formatBytes(use?.used ?? 0));
  });
  const file = el('input', { type: 'file', accept: '.json,application/json', hidden: true, id: 'import-file', 'aria-label': t.set.importFile });
  file.addEventListener('change', async () => {
    const chosen = file.files?.[0];
    file.value = '';
    if (!chosen) return;
    try {
      toast(t.set.imported(await importAll(store, await chosen.text())));
      imported();
    } catch (error) {
      toast(t.error.import(error instanceof ApiError ? plainWords(error) : (error as Error).message), 'error');
    }
  });
  const save = async () => download(`serval-${new Date().toISOString().slice(0, 10)}.json`, await exportAll(store));
  return el('fieldset', {}, el('legend', {}, t.set.data), hint,
    el('div', { class: 'buttons start' },
      el('button', { type: 'button', id: 'export-all', onclick: () => void save() }, t.set.exportAll),
      el('button', { type: 'button', onclick: () => file.click() }, t.set.importFile), file));
}

export function showSettings(store: Store, conversation: Conversation, model: ModelInfo | null, actions: SettingsActions): void {
  const system = el('textarea', { id: 'set-system', rows: '4', dir: 'auto', placeholder: t.set.systemHint });
  system.value = conversation.system;
  system.addEventListener('input', () => {
    conversation.system = system.value;
    actions.changed();
  });
  const dialog = el('dialog', { class: 'dialog', 'aria-labelledby': 'settings-title' },
    el('h2', { id: 'settings-title' }, t.set.title),
    el('fieldset', {}, el('legend', {}, t.set.thisChat),
      el('div', { class: 'field' }, el('label', { for: 'set-system' }, t.set.system), system)),
    samplingFields(conversation, model, actions.changed),
    pageFields(),
    dataFields(store, actions.imported),
    el('div', { class: 'buttons' }, el('button', { type: 'button', class: 'primary', onclick: () => dialog.close() }, t.close)));
  dialog.addEventListener('close', () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

// Elements in one line: el('button', { class: 'plain', onclick: send }, icon('send'), 'Send').

export type Child = Node | string | number | null | undefined | false;
type Attributes = Record<string, unknown>;

// A function is a listener ("onclick"), true an attribute without value; null, undefined and false are left out.
function assign(node: Element, attributes: Attributes): void {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === 'function') node.addEventListener(name.slice(2), value as EventListener);
    else node.setAttribute(name, value === true ? '' : String(value));
  }
}

export function el<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const node = document.createElement(tag);
  assign(node, attributes);
  put(node, ...children);
  return node;
}

export function put(node: Element, ...children: Child[]): void {
  for (const child of children) {
    if (child === null || child === undefined || child === false) continue;
    node.append(child instanceof Node ? child : String(child));
  }
}

export function replace(node: Element, ...children: Child[]): void {
  node.replaceChildren();
  put(node, ...children);
}

const kIcons = {
  send: 'M12 19V5m-6 6 6-6 6 6',
  stop: 'M7 7h10v10H7z',
  plus: 'M12 5v14M5 12h14',
  menu: 'M4 6h16M4 12h16M4 18h16',
  copy: 'M9 9h10v11H9zM5 15V4h10',
  edit: 'm4 20 1-5L16 4l4 4L9 19zM14 6l4 4',
  again: 'M19 12a7 7 0 1 1-2-5l2 2m0-5v5h-5',
  left: 'm14 6-6 6 6 6',
  right: 'm10 6 6 6-6 6',
  gear: 'M4 7h10m4 0h2M4 17h2m4 0h10M14 4.5v5M10 14.5v5',
  clip: 'm19 11-7.5 7.5a4.5 4.5 0 0 1-6.4-6.4L12.6 4.6a3 3 0 0 1 4.3 4.3l-7.5 7.5a1.5 1.5 0 0 1-2.2-2.2L14 7.5',
  close: 'm6 6 12 12M18 6 6 18',
  trash: 'M5 7h14M10 7V4h4v3m-7 0 1 13h8l1-13',
  pulse: 'M3 12h4l3-8 4 16 3-8h4',
  bars: 'M5 20v-6m5 6V9m5 11v-9m5 9V4',
  check: 'm5 13 4 4L19 7',
  help: 'M9.5 9a2.5 2.5 0 1 1 3.6 2.2c-.8.4-1.1 1-1.1 1.8M12 17v.01M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18',
  chat: 'M4 5h16v11H9l-5 4z',
  table: 'M4 5h16v14H4zM4 10h16M4 15h16M10 5v14',
  go: 'M5 12h13m-5-5 5 5-5 5',
} as const;
export type IconName = keyof typeof kIcons;

export function icon(name: IconName): SVGSVGElement {
  const space = 'http://www.w3.org/2000/svg';
  const svg = document.createElementNS(space, 'svg');
  assign(svg, { viewBox: '0 0 24 24', class: 'icon', 'aria-hidden': 'true' });
  const path = document.createElementNS(space, 'path');
  path.setAttribute('d', kIcons[name]);
  svg.append(path);
  return svg;
}

// A button that shows only an icon; the label is its name and tooltip.
export function iconButton(name: IconName, label: string, onclick: (event: MouseEvent) => void, extra: Attributes = {}) {
  return el('button', { type: 'button', class: 'icon-button', 'aria-label': label, title: label, onclick, ...extra }, icon(name));
}

// One polite sentence for screen readers.
export function announce(text: string): void {
  const region = document.getElementById('announcements');
  if (region) region.textContent = text;
}

// A short message at the bottom that goes away; errors stay until they are closed.
export function toast(text: string, kind: 'note' | 'error' = 'note'): void {
  const area = document.getElementById('toasts');
  if (!area) return;
  const node = el('div', { class: `toast ${kind}` }, el('span', {}, text));
  node.append(iconButton('close', '×', () => node.remove()));
  area.append(node);
  if (kind === 'note') setTimeout(() => node.remove(), 4000);
}

export async function copyText(text: string): Promise<void> {
  // navigator.clipboard exists only over https and on this machine itself.
  if (navigator.clipboard) {
    await navigator.clipboard.writeText(text);
    return;
  }
  const area = el('textarea', { class: 'offscreen' });
  area.value = text;
  document.body.append(area);
  area.select();
  document.execCommand('copy');
  area.remove();
}

export function download(name: string, text: string, type = 'application/json'): void {
  const url = URL.createObjectURL(new Blob([text], { type }));
  el('a', { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

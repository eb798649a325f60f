// Below the charts: the tree of cached prefixes, the model and its plan, KV's tiers, the log, the doctor.
import { callJson, plainWords } from '../api';
import { el } from '../dom';
import { formatBytes, formatNumber } from '../i18n';
import type { MonitorState } from './decode';
import { doctorContent, logContent } from './journal';
import { planContent, type Props } from './plan';
import { duration } from './requests';
import type { Doctor, Log, Plan, Prefixes, Tiers } from './schema';
import { m } from './texts';
import { tiersContent } from './tiers';

type TabName = 'prefixes' | 'plan' | 'tiers' | 'log' | 'doctor';
const kTabs: TabName[] = ['prefixes', 'plan', 'tiers', 'log', 'doctor'];
const kRefreshMs = 5000;
const kLogLines = 512; // what the server keeps
const kDeepest = 12; // levels that are indented

export class Tabs {
  readonly node: HTMLElement;
  private readonly buttons: HTMLButtonElement[];
  private readonly body = el('div', { role: 'tabpanel', id: 'tab-panel', tabindex: '0' });
  private current: TabName = 'prefixes';
  private fetched = 0;
  private props: Props | null = null;
  private lines: Log['lines'] = [];
  private logOf = ''; // instance of the server

  constructor(private readonly state: MonitorState) {
    this.buttons = kTabs.map((name, i) => el('button', {
      type: 'button', role: 'tab', id: `tab-${name}`, 'aria-controls': 'tab-panel',
      onclick: () => this.open(name),
      onkeydown: (event: KeyboardEvent) => {
        const by = event.key === 'ArrowRight' ? 1 : event.key === 'ArrowLeft' ? kTabs.length - 1 : 0;
        if (by === 0) return;
        const next = (i + by) % kTabs.length;
        this.open(kTabs[next]);
        this.buttons[next].focus();
      },
    }, m.tabs[name]));
    this.node = el('section', { class: 'panel wide', 'aria-label': m.tabList },
      el('div', { class: 'tabs', role: 'tablist', 'aria-label': m.tabList }, ...this.buttons), this.body);
    this.mark();
  }

  private mark(): void {
    this.buttons.forEach((button, i) => {
      const here = kTabs[i] === this.current;
      button.setAttribute('aria-selected', String(here));
      button.tabIndex = here ? 0 : -1;
    });
    this.body.setAttribute('aria-labelledby', `tab-${this.current}`);
  }

  private open(name: TabName): void {
    this.current = name;
    this.fetched = 0;
    this.mark();
    this.draw();
  }

  draw(): void {
    if (performance.now() - this.fetched < kRefreshMs) return;
    this.fetched = performance.now();
    const show = {
      prefixes: () => this.showPrefixes(), plan: () => this.showPlan(), tiers: () => this.showTiers(), log: () => this.showLog(), doctor: () => this.showDoctor(),
    }[this.current];
    const name = this.current;
    show().then(
      (content) => name === this.current && this.fill(content),
      (error) => this.body.replaceChildren(el('p', { class: 'fault' }, plainWords(error))),
    );
  }

  // Scrolled and focused stays what was, as far as it is still there.
  private fill(content: HTMLElement[]): void {
    const scrollers = () => [...this.body.querySelectorAll('.table-scroll')];
    const tops = scrollers().map((node) => node.scrollTop);
    const focused = this.body.contains(document.activeElement) ? document.activeElement!.getAttribute('aria-label') : null;
    this.body.replaceChildren(...content);
    scrollers().forEach((node, i) => (node.scrollTop = tops[i] ?? 0));
    if (focused) this.body.querySelector<HTMLElement>(`[aria-label="${CSS.escape(focused)}"]`)?.focus();
  }

  private async showPrefixes(): Promise<HTMLElement[]> {
    const tree = await callJson<Prefixes>('/admin/monitor/prefixes', { quiet: true });
    if (tree.nodes.length === 0) return [el('p', { class: 'dim' }, m.prefix.none)];
    const children = new Map<number, Prefixes['nodes']>();
    for (const node of tree.nodes) children.set(node.parent, [...(children.get(node.parent) ?? []), node]);
    const most = Math.max(...tree.nodes.map((node) => node.tokens));
    const rows: HTMLElement[] = [];
    const walk = (parent: number, level: number) => {
      for (const node of (children.get(parent) ?? []).sort((a, b) => b.hits - a.hits || b.tokens - a.tokens)) {
        rows.push(el('tr', {},
          el('td', { class: `level${Math.min(level, kDeepest)}` }, el('code', {}, node.hash.slice(0, 10)), node.key >= 0 ? ` ${this.state.label(node.key)}` : ''),
          el('td', { class: 'number' }, formatNumber(node.tokens)),
          el('td', {}, el('meter', { min: 0, max: most, value: node.tokens, 'aria-label': `${node.tokens} ${m.prefix.tokens}` })),
          el('td', { class: 'number' }, formatNumber(node.hits)),
          el('td', { class: 'number' }, m.prefix.ago(duration(Math.max(0, tree.t_ms - node.used_ms)))),
          el('td', { class: 'number' }, formatBytes(node.bytes)),
          el('td', { class: 'number' }, formatNumber(node.held))));
        if (level < 200) walk(node.id, level + 1);
      }
    };
    walk(-1, 0);
    const head = [m.prefix.hash, m.prefix.tokens, '', m.prefix.hits, m.prefix.used, m.prefix.bytes, m.prefix.held];
    return [
      el('div', { class: 'table-scroll', tabindex: '0', role: 'group', 'aria-label': m.tabs.prefixes },
        el('table', { class: 'data' },
          el('thead', {}, el('tr', {}, ...head.map((text) => (text ? el('th', { scope: 'col' }, text) : el('td', {}))))),
          el('tbody', {}, ...rows))),
      el('p', { class: 'dim' }, tree.left_out > 0 ? m.prefix.left(formatNumber(tree.left_out)) : ''),
    ];
  }

  private async showPlan(): Promise<HTMLElement[]> {
    this.props ??= await callJson<Props>('/props', { quiet: true }).catch(() => ({}));
    const plan = await callJson<Plan>('/admin/monitor/plan', { quiet: true });
    return planContent(plan, this.state.hello!, this.props);
  }

  private async showTiers(): Promise<HTMLElement[]> {
    return tiersContent(await callJson<Tiers>('/admin/monitor/tiers', { quiet: true }));
  }

  private async showDoctor(): Promise<HTMLElement[]> {
    return doctorContent(await callJson<Doctor>('/admin/monitor/doctor', { quiet: true }), this.state.frame?.lost ?? 0);
  }

  private async showLog(): Promise<HTMLElement[]> {
    const { instance } = this.state.hello!.server;
    if (instance !== this.logOf) this.lines = [];
    this.logOf = instance;
    const after = this.lines[this.lines.length - 1]?.n ?? 0;
    const log = await callJson<Log>(`/admin/monitor/log?after=${after}`, { quiet: true });
    this.lines = [...this.lines, ...log.lines.filter((line) => line.n > after)].slice(-kLogLines);
    return logContent(this.lines, this.state);
  }
}

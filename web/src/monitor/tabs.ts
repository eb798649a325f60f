// Below the charts: the tree of cached prefixes, the model and its plan, the doctor.
import { callJson, plainWords } from '../api';
import { el } from '../dom';
import { formatBytes, formatNumber, formatShort } from '../i18n';
import type { MonitorState } from './decode';
import { dataTable } from './panel';
import { duration } from './requests';
import type { Prefixes } from './schema';
import { m } from './texts';

type TabName = 'prefixes' | 'plan' | 'doctor';
const kTabs: TabName[] = ['prefixes', 'plan', 'doctor'];
const kRefreshMs = 5000;
const kDeepest = 12; // levels that are indented

interface Props {
  model_path?: string;
  backend?: string;
  kernels?: string;
  threads?: number;
  weight_bytes?: number;
  kv_bytes?: number;
  workspace_bytes?: number;
  build_info?: string;
  total_slots?: number;
  warnings?: string[];
  notices?: string[];
}

export class Tabs {
  readonly node: HTMLElement;
  private readonly buttons: HTMLButtonElement[];
  private readonly body = el('div', { role: 'tabpanel', id: 'tab-panel', tabindex: '0' });
  private current: TabName = 'prefixes';
  private fetched = 0;
  private props: Props | null = null;

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
    const show = { prefixes: () => this.showPrefixes(), plan: () => this.showPlan(), doctor: () => this.showDoctor() }[this.current];
    const name = this.current;
    show().then(
      (content) => name === this.current && this.body.replaceChildren(...content),
      (error) => this.body.replaceChildren(el('p', { class: 'fault' }, plainWords(error))),
    );
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

  private async loadProps(): Promise<Props> {
    return (this.props ??= await callJson<Props>('/props', { quiet: true }));
  }

  private async showPlan(): Promise<HTMLElement[]> {
    const props = await this.loadProps();
    const { hello } = this.state;
    const p = m.plan;
    const rows: [string, string][] = [];
    const add = (name: string, value: string | number | undefined | null) => value != null && rows.push([name, String(value)]);
    add(p.model, hello?.model.id);
    add(p.file, props.model_path);
    add(p.architecture, hello?.model.type);
    add(p.parameters, hello && formatNumber(hello.model.parameters));
    add(p.layers, hello?.model.layers);
    add(p.context, hello && formatNumber(hello.model.ctx));
    add(p.backend, props.backend);
    add(p.kernels, props.kernels);
    add(p.threads, props.threads);
    add(p.batch, props.total_slots);
    add(p.weights, props.weight_bytes && formatBytes(props.weight_bytes));
    add(p.kvBytes, props.kv_bytes && formatBytes(props.kv_bytes));
    add(p.workspace, props.workspace_bytes && formatBytes(props.workspace_bytes));
    add(p.version, hello?.server.version);
    return [dataTable(m.tabs.plan, [p.name, p.value], rows)];
  }

  private async showDoctor(): Promise<HTMLElement[]> {
    const { hello, frame } = this.state;
    const props = await this.loadProps();
    if (!hello || !frame) return [];
    const d = m.doctor;
    const lines: [boolean, string, string][] = [];
    const { limit_gbs, limit_gmacs } = hello.machine;
    lines.push([limit_gbs !== null, d.bandwidth, limit_gbs === null ? d.noLimit : `${formatShort(limit_gbs)} GB/s`]);
    lines.push([limit_gmacs !== null, d.macs, limit_gmacs === null ? d.noLimit : `${formatShort(limit_gmacs)} GMAC/s`]);
    lines.push([hello.power === 'ok', d.power, hello.power]);
    const { total } = frame;
    if (total.us > 0) lines.push([true, d.model, `${formatNumber((100 * total.pred_us) / total.us, 1)} %`]);
    if (total.prompt > 0) lines.push([true, d.cacheHit, `${formatNumber((100 * total.cached) / total.prompt, 1)} %; ${d.cacheFix}`]);
    lines.push([frame.q.preempted === 0, d.preempt, frame.q.preempted === 0 ? '0' : `${formatNumber(frame.q.preempted)}; ${d.preemptFix}`]);
    lines.push([frame.lost === 0, d.lost, formatNumber(frame.lost)]);
    for (const note of [...(props.warnings ?? []), ...(props.notices ?? [])]) lines.push([false, d.notes, note]);
    return [el('ul', { class: 'doctor' }, ...lines.map(([ok, what, value]) =>
      el('li', {}, el('span', { class: ok ? 'ok' : 'warn' }, ok ? `✓ ${d.ok}` : `! ${d.warn}`), el('span', {}, what), el('span', { class: 'dim' }, value))))];
  }
}

// The live view into the engine. Redraws with every frame (twice a second; ten times while zoomed), never in between.
import { callJson, plainWords } from '../api';
import { askForKey } from '../key';
import { announce, download, el, icon, iconButton, toast } from '../dom';
import { formatNumber, formatShort, t } from '../i18n';
import { bindKeys, showKeys } from '../keys';
import '../style/monitor.css';
import { LatencyChart, ModelChart, ThroughputChart } from './charts';
import { MonitorState } from './decode';
import { KvMap } from './kvmap';
import { dataTable, Panel } from './panel';
import { duration, RequestTable } from './requests';
import type { History } from './schema';
import { MonitorStream, type Status } from './stream';
import { Tabs } from './tabs';
import { m } from './texts';
import { Tiles } from './tiles';
import { Timeline } from './timeline';

const kHz = 2;
const kZoomedHz = 10;

// Of an hour and more nobody counts the seconds.
function longTime(ms: number): string {
  const minutes = Math.floor(ms / 60_000);
  if (minutes < 1) return `${Math.floor(ms / 1000)} s`;
  if (minutes < 60) return `${minutes} min`;
  if (minutes < 48 * 60) return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
  return m.days(Math.floor(minutes / 1440));
}

export class MonitorPage {
  readonly node: HTMLElement;
  private readonly state = new MonitorState();
  private readonly stream: MonitorStream;
  private readonly tiles = new Tiles(this.state);
  private readonly timeline = new Timeline(this.state, (zoomed) => this.stream.setRate(zoomed ? kZoomedHz : kHz));
  private readonly throughput = new ThroughputChart(this.state);
  private readonly latency = new LatencyChart(this.state);
  private readonly model = new ModelChart(this.state);
  private readonly kvmap = new KvMap(this.state);
  private readonly keys: Panel;
  private readonly requests = new RequestTable(this.state);
  private readonly tabs = new Tabs(this.state);
  private readonly status = el('span', { class: 'status', role: 'status' });
  private readonly facts = el('span', { class: 'dim facts' });
  private readonly banner = el('div', { class: 'banner', role: 'alert' });
  // What is seen here more, or less, than usual. Stays as long as it is true.
  private readonly notice = el('div', { class: 'banner', id: 'notice', role: 'note' });
  private readonly onlyAll: HTMLElement[]; // what needs more than one's own requests
  private readonly pauseButton = el('button', { type: 'button', class: 'small', id: 'pause', onclick: () => this.togglePause() }, m.pause);
  private instance = '';
  private twins = false;
  private unbind: () => void = () => undefined;

  constructor(private readonly toChat: () => void) {
    this.stream = new MonitorStream(this.state, (event) => this.onEvent(event), (status) => this.onStatus(status));
    this.keys = new Panel(m.keys, '', () => this.keyTable());
    const span = el('select', { id: 'span', 'aria-label': m.span, onchange: () => {
      this.throughput.span = this.latency.span = Number(span.value);
      this.draw();
    } }, ...Object.entries(m.spans).map(([value, text]) => el('option', { value }, text)));
    const save = el('button', { type: 'button', class: 'small', onclick: () => void this.saveTrace() }, m.saveTrace);
    const panels = el('div', { class: 'panels' }, this.throughput.panel.node, this.latency.panel.node, this.kvmap.panel.node, this.model.panel.node, this.keys.node);
    this.onlyAll = [span, save, this.tiles.node, this.timeline.panel.node, panels, this.tabs.node];
    // The notices stay in sight, like the heading above them.
    this.node = el('div', { class: 'monitor' }, el('header', { class: 'head' },
      el('div', { class: 'top' },
        el('a', { href: '/', class: 'back', id: 'to-chat', onclick: (event: Event) => { event.preventDefault(); toChat(); } }, icon('chat'), t.backToChat),
        el('h1', { class: 'title' }, m.title), this.status, this.facts,
        span, this.pauseButton, save,
        iconButton('help', t.help, showKeys)),
      this.banner, this.notice),
      el('main', { class: 'monitor-body', id: 'monitor-main', tabindex: '-1' }, this.tiles.node, this.requests.slowest, this.timeline.panel.node,
        panels,
        this.requests.node, this.tabs.node));
    new ResizeObserver(() => this.draw(true)).observe(this.node);
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.recolour());
  }

  shown(): void {
    document.title = `${m.title} · Serval`;
    this.unbind = bindKeys({
      'g c': this.toChat,
      t: () => this.toggleTables(),
      ' ': () => this.togglePause(),
      '?': showKeys,
    });
    this.recolour();
    this.stream.run(true);
  }

  hidden(): void {
    this.unbind();
    this.stream.run(false);
  }

  private panels(): Panel[] {
    return [this.timeline.panel, this.throughput.panel, this.latency.panel, this.kvmap.panel, this.model.panel, this.keys];
  }

  private recolour(): void {
    for (const chart of [this.throughput, this.latency, this.model]) chart.forget();
    this.draw(true);
  }

  private onEvent(event: string): void {
    if (event === 'hello') void this.onHello();
    if (event === 'hello' || event === 'own') this.showWhatIsSeen();
    // A frame is the last of the events that belong together, but for the steps behind it.
    if (event === 'frame' || event === 'kvmap' || event === 'own') this.draw();
  }

  private showWhatIsSeen(): void {
    const { own, hello } = this.state;
    const kind = own ? `own ${own.label}` : hello?.text ? `text ${hello.text}` : '';
    if (this.notice.dataset.kind === kind) return;
    this.notice.dataset.kind = kind;
    for (const node of this.onlyAll) node.hidden = own !== null;
    if (own) {
      this.instance = this.facts.textContent = '';
      const other = el('button', { type: 'button', class: 'small', id: 'other-key', onclick: () => void this.enterKey() }, m.adminKey);
      this.notice.replaceChildren(m.ownOnly(own.label), ' ', other);
    } else {
      this.notice.replaceChildren(hello?.text ? m.textShown(hello.text) : '');
    }
  }

  private async enterKey(): Promise<void> {
    if (await askForKey('admin')) this.stream.again();
  }

  private async onHello(): Promise<void> {
    const { server } = this.state.hello!;
    if (server.instance === this.instance) return;
    this.instance = server.instance;
    const history = await callJson<History>('/admin/monitor/history?span=1h', { quiet: true }).catch(() => null);
    if (!history) return;
    const { mean, lat } = history;
    const before = mean.dec.map((dec, i) => ({
      t: history.t_ms + i * history.step_s * 1000, dec, pre: mean.pre[i],
      ttft: [lat.ttft50[i], lat.ttft99[i]] as [number | null, number | null],
      itl: [lat.itl50[i], lat.itl99[i]] as [number | null, number | null],
    }));
    const first = this.state.points[0]?.t ?? Infinity;
    this.state.points.unshift(...before.filter((point) => point.t < first));
    this.draw();
  }

  private onStatus(status: Status): void {
    const text = status.kind === 'broken' ? m.connecting : m[status.kind];
    if (this.status.textContent !== text) this.status.textContent = text;
    this.status.className = `status ${status.kind}`;
    const broken = status.kind === 'broken' ? m.broken(status.message) : status.kind === 'connecting' ? this.banner.textContent : '';
    if (this.banner.textContent !== broken) this.banner.textContent = broken;
  }

  private togglePause(): void {
    this.stream.run(!this.stream.running);
    this.pauseButton.textContent = this.stream.running ? m.pause : m.resume;
    announce(this.stream.running ? m.live : m.paused);
  }

  private toggleTables(): void {
    if (this.state.own) return;
    this.twins = !this.twins;
    for (const panel of this.panels()) panel.showTable(this.twins);
    this.draw(true);
  }

  private async saveTrace(): Promise<void> {
    try {
      download('serval-trace.json', JSON.stringify(await callJson('/admin/trace')));
    } catch (error) {
      toast(plainWords(error), 'error');
    }
  }

  private keyTable(): HTMLElement {
    const wait = (value: number | null) => duration(value);
    return dataTable(m.keys, [m.key, m.run, m.wait, m.share, m.deficit, m.wait50, m.wait99], this.state.keys.map((row) => [
      row.label || '–', row.run, row.wait, `${formatNumber(100 * row.share)} %`, formatNumber(row.deficit), wait(row.wait50), wait(row.wait99),
    ]));
  }

  // Keys as bars of their share of the rows computed in the last minute.
  private drawKeys(): void {
    if (this.keys.tableShown) {
      this.keys.refreshTable();
      return;
    }
    const { keys } = this.state;
    if (keys.length === 0) {
      this.keys.body.replaceChildren(el('p', { class: 'dim' }, m.noKeys));
      return;
    }
    this.keys.body.replaceChildren(el('ul', { class: 'shares' }, ...keys.map((row) => el('li', {},
      el('bdi', {}, row.label || '–'),
      el('meter', { min: 0, max: 1, value: row.share, 'aria-label': `${m.share} ${formatNumber(100 * row.share)} %` }),
      el('span', { class: 'number' }, `${formatNumber(100 * row.share)} %`),
      el('span', { class: 'dim number' }, `${row.run} ${m.running}, ${m.waiting(row.wait)}${row.wait50 === null ? '' : `, ${m.medianWait} ${formatShort(row.wait50)} ms`}`)))));
  }

  private drawFacts(): void {
    const { hello, now } = this.state;
    if (!hello) return;
    const { server, model, machine } = hello;
    const text = `${model.id} · ${machine.isa} · ${machine.cores} × CPU · ${m.up(longTime(server.up_ms + Math.max(0, now - hello.t_ms)))}`;
    if (this.facts.textContent !== text) this.facts.textContent = text;
  }

  private draw(force = false): void {
    if (!this.node.isConnected || document.hidden) return;
    if (this.state.own) {
      this.requests.draw();
      return;
    }
    this.drawFacts();
    this.tiles.draw();
    this.timeline.draw();
    this.throughput.draw();
    this.latency.draw();
    this.model.draw();
    this.kvmap.draw(force);
    this.drawKeys();
    this.requests.draw();
    if (this.state.hello) this.tabs.draw();
  }
}

// The three line charts: throughput, waiting times, predicted and real step time. Drawn by uPlot.
import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';
import { el } from '../dom';
import { formatNumber, formatShort } from '../i18n';
import { colour } from './colours';
import type { MonitorState, Point } from './decode';
import { dataTable, Panel } from './panel';
import { m } from './texts';

type Column = (number | null)[];
type Data = [number[], ...Column[]];

interface Line {
  label: string;
  colour: string; // name of a custom property
  dash?: number[];
}

const kHeight = 180;
const kModelSteps = 300;
const kTableRows = 60;

abstract class Chart {
  readonly panel: Panel;
  private plot: uPlot | null = null;
  private readonly place = el('div', { class: 'chart' });
  protected abstract readonly lines: Line[];
  protected abstract data(): Data;
  protected readonly logarithmic: boolean = false;

  constructor(protected readonly state: MonitorState, private readonly title: string, private readonly x: string, private readonly unit: string) {
    this.panel = new Panel(title, '', () => this.table());
    this.panel.body.append(this.place);
  }

  draw(): void {
    if (this.panel.tableShown) {
      this.panel.refreshTable();
      return;
    }
    if (this.place.clientWidth === 0) return;
    this.plot ??= this.create();
    if (this.plot.width !== this.place.clientWidth) this.plot.setSize({ width: this.place.clientWidth, height: kHeight });
    this.plot.setData(this.data());
  }

  // Where the vertical axis ends.
  protected top(most: number): number {
    return 1.1 * most;
  }

  // After the theme changed.
  forget(): void {
    this.plot?.destroy();
    this.plot = null;
  }

  private create(): uPlot {
    const ink = colour('dim'), grid = colour('line');
    const axis = { stroke: ink, grid: { stroke: grid, width: 1 }, ticks: { stroke: grid, width: 1, size: 4 }, font: '11px system-ui, sans-serif' };
    return new uPlot({
      width: this.place.clientWidth,
      height: kHeight,
      legend: { live: false },
      cursor: { drag: { x: false, y: false }, points: { show: false } },
      scales: {
        x: { time: false },
        y: this.logarithmic ? { distr: 3 } : { range: (_, __, most) => [0, this.top(Math.max(1, most ?? 1))] },
      },
      axes: [
        { ...axis, values: (_, values) => values.map((v) => formatNumber(v, Number.isInteger(v) ? 0 : 1) + this.x) },
        { ...axis, size: 52, values: (_, values) => values.map((v) => (v === null ? '' : v === 0 ? '0' : formatShort(v))) },
      ],
      series: [{}, ...this.lines.map((line) => ({
        label: line.label, stroke: colour(line.colour), width: 1.6, dash: line.dash, points: { show: false }, spanGaps: false,
      }))],
    }, [[0], ...this.lines.map(() => [null])] as Data, this.place);
  }

  private table(): HTMLElement {
    const [x, ...columns] = this.data();
    const from = Math.max(0, x.length - kTableRows);
    const rows = x.slice(from).map((value, i) => [
      formatNumber(value, this.x ? 1 : 0) + this.x, ...columns.map((c) => (c[from + i] == null ? '–' : formatShort(c[from + i]!))),
    ]).reverse();
    return dataTable(this.title, [this.x ? m.time : m.step, ...this.lines.map((line) => `${line.label}, ${this.unit}`)], rows);
  }
}

// Points of the shown span; x in seconds before now.
abstract class TimeChart extends Chart {
  span = 30; // s
  protected abstract values(point: Point): (number | null)[];

  protected data(): Data {
    const { points } = this.state;
    const now = points[points.length - 1]?.t ?? 0;
    const shown = points.filter((point) => point.t >= now - this.span * 1000);
    // One point per pixel is enough.
    const every = Math.max(1, Math.ceil(shown.length / 900));
    const kept = shown.filter((_, i) => i % every === 0);
    const columns = this.lines.map((_, line) => kept.map((point) => this.values(point)[line]));
    return [kept.map((point) => (point.t - now) / 1000), ...columns];
  }
}

export class ThroughputChart extends TimeChart {
  protected readonly lines = [{ label: m.decode, colour: 'kind1' }, { label: m.prefill, colour: 'kind0' }];
  constructor(state: MonitorState) {
    super(state, m.throughput, ' s', m.perSecond);
    this.panel.note.textContent = m.perSecond;
  }
  protected values(point: Point): Column {
    return [point.dec, point.pre];
  }
}

// First tokens take a hundred times as long as later ones: a logarithmic scale shows both.
export class LatencyChart extends TimeChart {
  protected override readonly logarithmic = true;
  protected readonly lines = [
    { label: `${m.itl} p50`, colour: 'kind1' }, { label: 'p99', colour: 'kind1', dash: [4, 3] },
    { label: `${m.ttft} p50`, colour: 'kind0' }, { label: 'p99', colour: 'kind0', dash: [4, 3] },
    { label: m.goal, colour: 'late', dash: [2, 4] },
  ];
  constructor(state: MonitorState) {
    super(state, m.latency, ' s', 'ms');
  }
  override draw(): void {
    const target = this.state.hello?.target.itl_ms;
    if (target) this.panel.note.textContent = `ms · ${m.target(formatNumber(target))}`;
    super.draw();
  }
  protected values(point: Point): Column {
    return [...point.itl, ...point.ttft, this.state.hello?.target.itl_ms ?? null].map((value) => value || null);
  }
}

export class ModelChart extends Chart {
  protected readonly lines = [{ label: m.real, colour: 'kind1' }, { label: m.predicted, colour: 'text', dash: [3, 3] }];
  constructor(state: MonitorState) {
    super(state, m.model, '', 'ms');
  }
  // One stalled step in a hundred must not press the others flat.
  protected override top(most: number): number {
    const sorted = this.state.steps.slice(-kModelSteps).map((step) => step.ms).sort((a, b) => a - b);
    return Math.min(1.1 * most, 2 * (sorted[Math.floor(0.98 * sorted.length)] ?? most));
  }
  protected data(): Data {
    const steps = this.state.steps.slice(-kModelSteps);
    const known = steps.filter((step) => step.predicted > 0);
    const off = known.reduce((sum, step) => sum + Math.abs(step.ms - step.predicted), 0);
    const all = known.reduce((sum, step) => sum + step.ms, 0);
    this.panel.note.textContent = all > 0 ? `ms · ${m.error(formatShort((100 * off) / all))}` : 'ms';
    return [steps.map((step) => step.number), steps.map((step) => step.ms), steps.map((step) => step.predicted || null)];
  }
}

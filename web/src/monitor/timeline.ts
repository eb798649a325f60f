// The step timeline: one bar per engine step, as wide as the step was long, stacked by what each request computed in it.
// Height is the square root of rows, so that one decoded token is visible beside a prompt of hundreds. A line across a
// bar's end marks when the cost model expected it to end.
import { el } from '../dom';
import { formatBytes, formatNumber, formatShort } from '../i18n';
import { colour, kKindLetters, prepare } from './colours';
import type { MonitorState, Step } from './decode';
import { dataTable, Panel } from './panel';
import { m } from './texts';

const kFollowMs = 4000;
const kShortestMs = 20;
const kTableRows = 100;
const kLetterWidth = 14; // pixels a part needs to show its letter
const kFoot = 18;
const kSpeculative = 3; // index of kKinds

export class Timeline {
  readonly panel: Panel;
  private readonly canvas = el('canvas', { class: 'timeline', tabindex: '0', role: 'img', 'aria-label': m.steps });
  private readonly sheet = el('div', { class: 'step-sheet', 'aria-live': 'polite' });
  private readonly followButton: HTMLButtonElement;
  // Speculation is named once there is some.
  private readonly kinds = m.kinds.map((kind, i) => el('span', { class: `key kind${i}`, hidden: i === kSpeculative }, kKindLetters[i], ' ', kind));
  private range: [number, number] | null = null; // null: the newest four seconds
  private drag: [number, number] | null = null;
  private selected: Step | null = null;

  constructor(private readonly state: MonitorState, private readonly onZoom: (zoomed: boolean) => void) {
    this.followButton = el('button', { type: 'button', class: 'small', hidden: true, onclick: () => this.zoom(null) }, m.follow);
    const note = el('span', { class: 'dim panel-note' }, m.stepsHint);
    this.panel = new Panel(m.steps, 'wide', () => this.table(), note);
    this.panel.body.append(this.canvas,
      el('div', { class: 'legend' }, ...this.kinds, this.followButton),
      this.sheet);
    this.canvas.addEventListener('pointerdown', (event) => {
      this.canvas.setPointerCapture(event.pointerId);
      this.drag = [event.offsetX, event.offsetX];
    });
    this.canvas.addEventListener('pointermove', (event) => {
      if (!this.drag) return;
      this.drag[1] = event.offsetX;
      this.draw();
    });
    this.canvas.addEventListener('pointerup', () => this.dropped());
    this.canvas.addEventListener('keydown', (event) => this.onKey(event));
  }

  private window(): [number, number] {
    if (this.range) return this.range;
    const last = this.state.steps[this.state.steps.length - 1];
    const end = Math.max(this.state.frame?.t_ms ?? 0, last ? last.begin + last.ms : 0);
    return [end - kFollowMs, end];
  }

  private zoom(range: [number, number] | null): void {
    this.range = range;
    this.followButton.hidden = range === null;
    this.onZoom(range !== null);
    this.draw();
  }

  private dropped(): void {
    if (!this.drag) return;
    const [a, b] = this.drag;
    this.drag = null;
    const [begin, end] = this.window();
    const at = (x: number) => begin + (x / this.canvas.clientWidth) * (end - begin);
    if (Math.abs(a - b) < 5) this.select(this.stepAt(at(a)));
    else if (at(Math.max(a, b)) - at(Math.min(a, b)) >= kShortestMs) this.zoom([at(Math.min(a, b)), at(Math.max(a, b))]);
    this.draw();
  }

  private stepAt(t: number): Step | null {
    return this.state.steps.find((step) => t >= step.begin && t <= step.begin + step.ms) ?? null;
  }

  private onKey(event: KeyboardEvent): void {
    const { steps } = this.state;
    const by = event.key === 'ArrowLeft' ? -1 : event.key === 'ArrowRight' ? 1 : 0;
    if (event.key === 'Escape') this.zoom(null);
    if (by === 0 || steps.length === 0) return;
    event.preventDefault();
    const at = this.selected ? steps.findIndex((step) => step.number === this.selected!.number) : steps.length;
    const step = steps[Math.min(steps.length - 1, Math.max(0, at + by))];
    // Selecting holds the view still.
    const [begin, end] = this.window();
    if (!this.range || step.begin < begin || step.begin > end) this.zoom([step.begin - kFollowMs / 2, step.begin + kFollowMs / 2]);
    this.select(step);
    this.draw();
  }

  private select(step: Step | null): void {
    this.selected = step;
    if (!step) {
      this.sheet.replaceChildren();
      return;
    }
    const spans = step.spans.map((span) => `${span.request} ${kKindLetters[span.kind]}${span.rows > 1 ? ` ×${span.rows}` : ''}`);
    const fact = (name: string, value: string) => [el('dt', {}, name), el('dd', {}, value)];
    this.sheet.replaceChildren(
      el('h3', {}, m.stepOf(formatNumber(step.number))),
      el('dl', {},
        ...fact(m.duration, `${formatShort(step.ms)} ms`),
        ...fact(m.predicted, step.predicted > 0 ? `${formatShort(step.predicted)} ms` : '–'),
        ...fact(m.rows, formatNumber(step.rows)),
        ...fact(m.read, `${formatBytes(step.bytes)}, ${formatShort(step.bytes / step.ms / 1e6)} GB/s`),
        ...fact(m.work, `${formatShort(step.macs / step.ms / 1e6)} GMAC/s`),
        ...fact(m.run, `${step.run} + ${m.waiting(step.wait)}`),
        ...fact(m.why, spans.join(', '))));
  }

  draw(): void {
    if (this.panel.tableShown) {
      this.panel.refreshTable();
      return;
    }
    const surface = prepare(this.canvas);
    if (!surface) return;
    const { g, width, height } = surface;
    const [begin, end] = this.window();
    const scale = width / (end - begin);
    const high = height - kFoot;
    const steps = this.state.steps.filter((step) => step.begin + step.ms >= begin && step.begin <= end);
    const tallest = Math.max(4, ...steps.map((step) => step.spans.reduce((sum, span) => sum + Math.sqrt(span.rows), 0)));
    const fills = [0, 1, 2, 3].map((kind) => [colour(`kind${kind}`), colour(`kind${kind}b`)]);
    const back = colour('panel-back'), text = colour('text'), dim = colour('dim'), fault = colour('late');
    g.font = '11px system-ui, sans-serif';
    if (steps.some((step) => step.spans.some((span) => span.kind === kSpeculative))) this.kinds[kSpeculative].hidden = false;
    for (const step of steps) {
      const x = (step.begin - begin) * scale;
      const wide = Math.max(1, step.ms * scale - (step.ms * scale > 3 ? 1 : 0));
      let y = high;
      for (const span of step.spans) {
        const tall = (Math.sqrt(span.rows) / tallest) * (high - 6);
        y -= tall;
        g.fillStyle = fills[span.kind][span.request % 2];
        g.fillRect(x, y, wide, Math.max(1, tall - (tall > 4 ? 1 : 0)));
        if (wide > kLetterWidth && tall > kLetterWidth) {
          g.fillStyle = back;
          g.fillText(kKindLetters[span.kind], x + 4, y + 12);
        }
      }
      if (step.predicted > 0) {
        g.fillStyle = step.ms > 1.25 * step.predicted ? fault : dim;
        g.fillRect(x + step.predicted * scale - 0.5, y - 4, 1.5, Math.min(high - y + 4, 10));
      }
      if (step === this.selected) {
        g.strokeStyle = text;
        g.lineWidth = 2;
        g.strokeRect(x - 1, y - 2, wide + 2, high - y + 3);
      }
    }
    this.drawScale(g, begin, end, width, height, dim);
    if (this.drag) {
      g.globalAlpha = 0.2;
      g.fillStyle = text;
      g.fillRect(Math.min(...this.drag), 0, Math.abs(this.drag[1] - this.drag[0]), high);
      g.globalAlpha = 1;
    }
  }

  private drawScale(g: CanvasRenderingContext2D, begin: number, end: number, width: number, height: number, ink: string): void {
    const unit = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000].find((step) => (end - begin) / step <= 9) ?? 5000;
    g.fillStyle = ink;
    for (let t = Math.ceil(begin / unit) * unit; t < end; t += unit) {
      const x = ((t - begin) / (end - begin)) * width;
      g.fillRect(x, height - kFoot, 1, 4);
      g.fillText(`${formatNumber(t / 1000, unit < 10 ? 3 : unit < 100 ? 2 : 1)} s`, x + 3, height - 4);
    }
  }

  private table(): HTMLElement {
    const [begin, end] = this.window();
    const rows = this.state.steps.filter((step) => step.begin >= begin && step.begin <= end).slice(-kTableRows).reverse().map((step) => [
      formatNumber(step.number), `${formatNumber(step.begin / 1000, 2)} s`, formatShort(step.ms), formatShort(step.predicted), step.rows,
      step.spans.map((span) => `${span.request}${kKindLetters[span.kind]}${span.rows}`).join(' '),
      formatShort(step.bytes / step.ms / 1e6),
    ]);
    return dataTable(m.steps, [m.step, m.begin, `${m.duration}, ms`, `${m.predicted}, ms`, m.rows, m.why, 'GB/s'], rows);
  }
}

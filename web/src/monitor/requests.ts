// The table of requests, and the story of one: where its time went, in words and as a waterfall.
import { call, callJson, plainWords } from '../api';
import { el, iconButton, toast } from '../dom';
import { formatNumber, formatShort, t } from '../i18n';
import { At, Col, kKinds, type MonitorState, type Row, type Step } from './decode';
import { dataTable } from './panel';
import type { Request } from './schema';
import { m } from './texts';

const kShown = 40;
const kRecent = 60_000; // ms
type Sort = 'new' | 'total' | 'ttft' | 'gap';

export function duration(ms: number | null): string {
  if (ms === null) return '–';
  return ms < 1000 ? `${formatShort(ms)} ms` : `${formatShort(ms / 1000)} s`;
}

const alive = (row: Row) => row[Col.times][At.ended] === null;

export class RequestTable {
  readonly node: HTMLElement;
  private readonly body = el('tbody');
  private readonly empty = el('p', { class: 'dim' }, m.noRequests);
  readonly slowest = el('p', { class: 'slowest', hidden: true }); // stands by itself, in sight when the page opens
  private readonly textHead = el('th', { scope: 'col' }, m.text);
  private readonly rows = new Map<number, { row: Row; text: unknown; node: HTMLElement; now: number }>();
  private sort: Sort = 'new';

  constructor(private readonly state: MonitorState) {
    const choose = el('select', { id: 'request-sort', onchange: () => { this.sort = choose.value as Sort; this.draw(); } },
      ...Object.entries(m.sorts).map(([key, text]) => el('option', { value: key }, text)));
    const head = [m.id, m.state, m.key, m.prompt, m.cached, m.out, m.ttft, m.gap, m.total, m.course, ''];
    this.node = el('section', { class: 'panel wide', 'aria-label': m.requests },
      el('header', {}, el('h2', {}, m.requests), el('label', { for: 'request-sort', class: 'dim panel-note' }, m.sort), choose),
      this.empty,
      el('div', { class: 'table-scroll', tabindex: '0', role: 'group', 'aria-label': m.requests },
        el('table', { class: 'data requests' },
          el('thead', {}, el('tr', {}, ...head.map((text, i) => (i < 10 ? el('th', { scope: 'col' }, text) : el('td', {}))), this.textHead)), this.body)));
  }

  private total(row: Row): number {
    const [queued, , , , ended] = row[Col.times];
    return (ended ?? this.state.now) - (queued ?? this.state.now);
  }

  // What most people come for, in one line: of the requests that ran in the last minute, the one that took longest.
  private drawSlowest(): void {
    const recent = [...this.state.requests.values()].filter((row) => (row[Col.times][At.ended] ?? this.state.now) >= this.state.now - kRecent);
    const row = recent.reduce<Row | null>((worst, other) => (!worst || this.total(other) > this.total(worst) ? other : worst), null);
    const text = row && m.slowest(row[Col.id], duration(this.total(row)));
    this.slowest.hidden = !row;
    if (!row || this.slowest.dataset.text === text) return;
    this.slowest.dataset.text = text!;
    const button = this.slowest.querySelector('button') ?? el('button', { type: 'button', class: 'small', 'data-act': 'why' }, m.whySlow);
    button.onclick = () => void showRequest(row[Col.id], this.state);
    if (!this.slowest.firstChild) this.slowest.append(el('span'), ' ', button);
    this.slowest.firstElementChild!.textContent = text;
  }

  draw(): void {
    const value = (row: Row) => (this.sort === 'total' ? this.total(row) : (this.sort === 'ttft' ? row[Col.ttft] : row[Col.gap]) ?? -1);
    const all = [...this.state.requests.values()];
    if (this.sort === 'new') all.sort((a, b) => Number(alive(b)) - Number(alive(a)) || b[Col.id] - a[Col.id]);
    else all.sort((a, b) => value(b) - value(a));
    this.drawSlowest();
    this.textHead.hidden = !this.state.hello?.text;
    const shown = all.slice(0, kShown);
    this.empty.hidden = shown.length > 0;
    const known = new Set(shown.map((row) => row[Col.id]));
    for (const [id, entry] of this.rows) {
      if (known.has(id)) continue;
      entry.node.remove();
      this.rows.delete(id);
    }
    shown.forEach((row, i) => {
      const node = this.nodeOf(row);
      if (this.body.children[i] !== node) this.body.insertBefore(node, this.body.children[i] ?? null);
    });
  }

  // Rows are drawn again only when they changed, or live.
  private nodeOf(row: Row): HTMLElement {
    const old = this.rows.get(row[Col.id]);
    const text = this.state.texts.get(row[Col.id]);
    if (old && old.row === row && old.text === text && (!alive(row) || old.now === this.state.now)) return old.node;
    const node = old?.node ?? el('tr', {});
    const focused = node.contains(document.activeElement) ? (document.activeElement as HTMLElement).dataset.act : undefined;
    node.replaceChildren(...this.cells(row));
    if (focused) node.querySelector<HTMLElement>(`[data-act="${focused}"]`)?.focus();
    this.rows.set(row[Col.id], { row, text, node, now: this.state.now });
    return node;
  }

  private cells(row: Row): HTMLElement[] {
    const id = row[Col.id];
    const number = (text: string) => el('td', { class: 'number' }, text);
    const open = el('button', { type: 'button', class: 'link', 'data-act': 'open', 'aria-label': m.details(id), onclick: () => void showRequest(id, this.state) }, String(id));
    // One's own requests end when their client hangs up; the route that cancels is for admins.
    const mayCancel = alive(row) && !this.state.own;
    return [
      el('td', {}, open),
      el('td', {}, el('span', { class: `state ${row[Col.state]}` }, m.states[row[Col.state]])),
      el('td', {}, el('bdi', {}, this.state.label(row[Col.key]))),
      number(formatNumber(row[Col.prompt])), number(formatNumber(row[Col.cached])), number(formatNumber(row[Col.out])),
      number(duration(row[Col.ttft])), number(duration(row[Col.gap])), number(duration(this.total(row))),
      el('td', {}, this.course(row)),
      el('td', {}, mayCancel ? iconButton('close', m.cancel(id), () => void this.cancel(id), { 'data-act': 'cancel' }) : ''),
      ...(this.state.hello?.text ? [this.textCell(id)] : []),
    ];
  }

  private textCell(id: number): HTMLElement {
    const [prompt, answer] = this.state.texts.get(id) ?? ['', ''];
    return el('td', { class: 'text' }, el('bdi', {}, prompt), answer && ' → ', el('bdi', { class: 'dim' }, answer));
  }

  // Queue, prompt, answer as shares of a strip.
  private course(row: Row): SVGElement {
    const [queued, begun, first, , ended] = row[Col.times];
    const from = queued ?? 0, to = ended ?? this.state.now;
    return strip([[from, begun ?? to, 'queue'], [begun ?? to, first ?? to, 'prompt'], [first ?? to, to, 'answer']], from, to, 120, 12, []);
  }

  private async cancel(id: number): Promise<void> {
    if (!(await confirm(m.cancelAsk(id), m.cancel(id)))) return;
    try {
      await call(`/admin/requests/${id}/cancel`, { method: 'POST' });
      toast(m.cancelled);
    } catch (error) {
      toast(plainWords(error), 'error');
    }
  }
}

function confirm(question: string, yes: string): Promise<boolean> {
  return new Promise((resolve) => {
    const dialog = el('dialog', { class: 'dialog small', 'aria-labelledby': 'ask' }, el('form', { method: 'dialog' },
      el('h2', { id: 'ask' }, question),
      el('div', { class: 'buttons' }, el('button', { value: 'no' }, t.close), el('button', { value: 'yes', class: 'danger' }, yes))));
    dialog.addEventListener('close', () => {
      dialog.remove();
      resolve(dialog.returnValue === 'yes');
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

type Part = [begin: number, end: number, kind: string];

function strip(parts: Part[], from: number, to: number, width: number, height: number, ticks: { at: number; late: boolean }[]): SVGElement {
  const space = 'http://www.w3.org/2000/svg';
  const svg = document.createElementNS(space, 'svg');
  svg.setAttribute('viewBox', `0 0 ${width} ${height}`);
  svg.setAttribute('class', 'strip');
  svg.setAttribute('aria-hidden', 'true');
  svg.setAttribute('preserveAspectRatio', 'none');
  const scale = width / Math.max(1e-6, to - from);
  const add = (x: number, wide: number, kind: string) => {
    const rect = document.createElementNS(space, 'rect');
    rect.setAttribute('x', x.toFixed(2));
    rect.setAttribute('width', wide.toFixed(2));
    rect.setAttribute('height', String(height));
    rect.setAttribute('class', kind);
    svg.append(rect);
  };
  for (const [begin, end, kind] of parts) if (end > begin) add((begin - from) * scale, Math.max(0.6, (end - begin) * scale), kind);
  for (const tick of ticks) add((tick.at - from) * scale - 0.5, 1, tick.late ? 'late' : 'tick');
  return svg;
}

// Where most of its time went, in one sentence; `now` for one that is still running.
export function verdict({ row }: Request, now: number): string {
  const [queued, begun, first, , ended] = row[Col.times];
  const end = ended ?? now;
  const from = queued ?? begun ?? end;
  const times = [(begun ?? end) - from, (first ?? end) - (begun ?? end), end - (first ?? end)];
  const most = times.indexOf(Math.max(...times));
  return m.story.verdict(duration(end - from), duration(times[most]), m.story.mostly[most], ended === null);
}

const kWorthTelling = 0.1; // of the time of the answer

// Prompt rows of others in the steps that read its prompt, as far as these steps are still known.
function rowsBeside({ spans }: Request, id: number, steps: Step[]): number {
  const reading = new Set(spans.filter((span) => span[2] !== 1).map((span) => span[4]));
  return steps.filter((step) => reading.has(step.number)).flatMap((step) => step.spans)
    .reduce((sum, span) => sum + (span.request !== id && kKinds[span.kind] === 'prefill' ? span.rows : 0), 0);
}

// What happened to a request, in sentences.
export function story(request: Request, steps: Step[]): string[] {
  const { row, gaps, wait } = request;
  const [queued, begun, first, last, ended] = row[Col.times];
  const out: string[] = [];
  if (queued !== null && begun !== null) out.push(m.story.queued(duration(begun - queued), wait.ahead ?? 0));
  if (begun !== null && first !== null) {
    out.push(m.story.computed(duration(first - begun), formatNumber(row[Col.prompt] - row[Col.cached]), formatNumber(row[Col.cached])));
    const beside = rowsBeside(request, row[Col.id], steps);
    if (beside > row[Col.prompt] - row[Col.cached]) out.push(m.story.beside(formatNumber(beside)));
  }
  if (first !== null && last !== null && row[Col.out] > 1) {
    out.push(m.story.decoded(formatNumber(row[Col.out]), duration(last - first), formatShort((1000 * (row[Col.out] - 1)) / Math.max(0.001, last - first))));
  }
  // Of the longest gaps, at least: most that are left out are short.
  const shared = gaps.reduce((sum, gap) => sum + (gap[3] ? gap[1] : 0), 0);
  if (first !== null && last !== null && shared > kWorthTelling * (last - first)) out.push(m.story.shared(duration(shared)));
  if (request.late > 0) out.push(m.story.late(request.late, duration(request.late_ms)));
  const longest = gaps.reduce<Request['gaps'][number] | null>((best, gap) => (!best || gap[1] > best[1] ? gap : best), null);
  if (longest) {
    const others = longest[3] ? `, ${m.story.others(formatNumber(longest[3]))}` : '';
    out.push(m.story.longest(duration(longest[1]), m.story.whys[longest[2]] + others));
  }
  if (wait.evictions > 0) out.push(m.story.evicted(wait.evictions));
  if (!request.complete) out.push(m.story.partly);
  if (ended === null) out.push(m.story.still);
  return out;
}

const kKindClass = ['prompt', 'answer', 'again', 'spec'];

export async function showRequest(id: number, state: MonitorState): Promise<void> {
  let request: Request;
  try {
    request = await callJson<Request>(state.own ? `/v1/requests/${id}` : `/admin/monitor/request/${id}`);
  } catch (error) {
    toast(plainWords(error), 'error');
    return;
  }
  const { row, spans, gaps } = request;
  const [queued, begun, , last, ended] = row[Col.times];
  const from = queued ?? begun ?? 0;
  const to = ended ?? Math.max(last ?? from, ...spans.map((span) => span[0] + span[1]));
  const parts: Part[] = [[from, begun ?? to, 'queue'], ...spans.map((span): Part => [span[0], span[0] + span[1], kKindClass[span[2]]])];
  const ticks = gaps.map((gap) => ({ at: gap[0], late: gap[1] > request.late_ms }));
  // What would tell of others, an owner is not told: those columns are left out.
  const known = (value: number | null) => (value === null ? [] : [formatNumber(value)]);
  const columns = (of: string[], last: string) => (state.own ? of : [...of, last]);
  const spanRows = spans.slice(0, 50).map((span) => [m.kinds[span[2]], duration(span[0] - from), duration(span[1]), formatNumber(span[3]), ...known(span[4])]);
  const gapRows = [...gaps].sort((a, b) => b[1] - a[1]).slice(0, 8).map((gap) => [duration(gap[0] - from), duration(gap[1]), m.story.whys[gap[2]], ...known(gap[3])]);
  const [prompt, answer] = request.text ?? ['', ''];
  const dialog = el('dialog', { class: 'dialog request', 'aria-labelledby': 'request-title' },
    el('h2', { id: 'request-title' }, m.story.title(id), ' ', el('span', { class: `state ${row[Col.state]}` }, m.states[row[Col.state]])),
    prompt && el('p', { class: 'texts' }, el('bdi', {}, prompt), answer && ' → ', el('bdi', { class: 'dim' }, answer)),
    el('p', { class: 'verdict' }, verdict(request, state.now)),
    el('ul', { class: 'story' }, ...story(request, state.steps).map((line) => el('li', {}, line))),
    strip(parts, from, to, 600, 34, ticks),
    el('div', { class: 'legend' }, ...m.story.phases.map((phase, i) => el('span', { class: `key ${['queue', 'prompt', 'answer'][i]}` }, phase))),
    gapRows.length > 0 && el('h3', {}, m.story.gaps),
    gapRows.length > 0 && dataTable(m.story.gaps, columns([m.begin, m.duration, m.story.reason], m.story.otherRows), gapRows),
    el('h3', {}, m.course),
    dataTable(m.course, columns([m.story.span, m.begin, m.duration, m.rows], m.step), spanRows),
    el('div', { class: 'buttons' }, el('button', { type: 'button', class: 'primary', onclick: () => dialog.close() }, t.close)));
  dialog.addEventListener('close', () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

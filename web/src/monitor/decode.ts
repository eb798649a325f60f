// The stream's events as what the views draw: steps with their spans, the newest frame, requests by id. Pure, without a page.
import type { Frame, Hello, Keys, Kvmap, Own, Reqs, Steps, Texts } from './schema';

export const kKinds = ['prefill', 'decode', 'recomputed', 'speculative'] as const;

export interface Span {
  request: number;
  kind: number; // index of kKinds
  rows: number;
}

export interface Step {
  number: number;
  begin: number; // ms of the server's clock
  ms: number;
  predicted: number; // ms; 0: not known
  bytes: number;
  macs: number;
  run: number;
  wait: number;
  evicted: number;
  rows: number;
  spans: Span[];
}

export type Row = Reqs['rows'][number];
export const enum Col { id, key, state, prompt, cached, done, out, ttft, gap, accepted, evictions, times }
export const enum At { queued, begun, first, last, ended }

export interface Point {
  t: number; // ms of the server's clock
  dec: number | null;
  pre: number | null;
  ttft: [number | null, number | null];
  itl: [number | null, number | null];
}

const kSteps = 6000;
const kPoints = 12_000;
const kRequests = 600;

// Columns of differences, flat spans.
export function decodeSteps(event: Steps): Step[] {
  const out: Step[] = [];
  let t = 0, bytes = 0, macs = 0, request = 0, at = 0;
  for (let i = 0; i < event.us.length; i++) {
    t += event.t[i];
    bytes += event.bytes[i];
    macs += event.macs[i];
    const spans: Span[] = [];
    let rows = 0;
    for (let n = 0; n < event.n[i]; n++, at += 3) {
      request += event.rows[at];
      spans.push({ request, kind: event.rows[at + 1], rows: event.rows[at + 2] });
      rows += event.rows[at + 2];
    }
    out.push({
      number: event.first + i, begin: t / 1000, ms: event.us[i] / 1000, predicted: event.pred[i] / 1000,
      bytes, macs, run: event.run[i], wait: event.wait[i], evicted: event.evict[i], rows, spans,
    });
  }
  return out;
}

export class MonitorState {
  hello: Hello | null = null;
  frame: Frame | null = null;
  own: Own | null = null; // instead of all others: only the requests of this key are known
  kvmap: Kvmap | null = null;
  keys: Keys['rows'] = [];
  steps: Step[] = [];
  points: Point[] = [];
  readonly requests = new Map<number, Row>();
  readonly texts = new Map<number, [prompt: string, answer: string]>(); // where the server shows them

  // Milliseconds of the server's clock, as far as it is known.
  get now(): number {
    return this.frame?.t_ms ?? this.own?.t_ms ?? 0;
  }

  // Another start of the server: nothing of the old one means anything.
  private reset(): void {
    this.frame = this.kvmap = this.own = null;
    this.keys = [];
    this.steps = [];
    this.points = [];
    this.requests.clear();
    this.texts.clear();
  }

  take(event: string, data: unknown): void {
    switch (event) {
      case 'hello': {
        const hello = data as Hello;
        if (this.own || (this.hello && this.hello.server.instance !== hello.server.instance)) this.reset();
        this.hello = hello;
        return;
      }
      case 'frame':
        return this.takeFrame(data as Frame);
      case 'steps':
        return this.takeSteps(data as Steps);
      case 'kvmap':
        this.kvmap = data as Kvmap;
        return;
      case 'keys':
        this.keys = (data as Keys).rows;
        return;
      case 'reqs':
        return this.takeRequests(data as Reqs);
      case 'texts':
        for (const [id, prompt, answer] of (data as Texts).rows) this.texts.set(id, [prompt, answer]);
        return;
      case 'own':
        this.reset();
        this.hello = null;
        this.own = data as Own;
        return this.takeRequests(this.own);
    }
  }

  private takeFrame(frame: Frame): void {
    this.frame = frame;
    const { tok, lat } = frame;
    this.points.push({ t: frame.t_ms, dec: tok.dec, pre: tok.pre + tok.rec, ttft: lat.ttft, itl: lat.itl });
    if (this.points.length > kPoints) this.points.splice(0, this.points.length - kPoints);
  }

  private takeSteps(event: Steps): void {
    const last = this.steps[this.steps.length - 1]?.number ?? 0;
    this.steps.push(...decodeSteps(event).filter((step) => step.number > last));
    if (this.steps.length > kSteps) this.steps.splice(0, this.steps.length - kSteps);
  }

  private takeRequests(event: Pick<Reqs, 'rows'>): void {
    for (const row of event.rows) {
      this.requests.delete(row[Col.id]);
      this.requests.set(row[Col.id], row);
    }
    for (const [id, row] of this.requests) {
      if (this.requests.size <= kRequests) break;
      if (row[Col.times][At.ended] === null) continue;
      this.requests.delete(id);
      this.texts.delete(id);
    }
  }

  label(key: number): string {
    return this.own?.label || this.keys.find((row) => row.key === key)?.label || '–';
  }
}

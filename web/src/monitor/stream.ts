// Keeps the stream open while somebody looks: closed in a hidden tab, opened again after an error with growing patience.
// Whoever has a key, but not one for the stream, gets the requests of that key, asked for once a second.
import { ApiError, call, callJson, lacksRights, plainWords } from '../api';
import { storedKey } from '../key';
import { readEvents } from '../sse';
import type { MonitorState } from './decode';
import type { Own } from './schema';

const kFirstWait = 500; // ms
const kLongestWait = 8000;
const kOwnEvery = 1000;

export type Status = { kind: 'live' | 'paused' | 'connecting' } | { kind: 'broken'; message: string };

export class MonitorStream {
  private controller: AbortController | null = null;
  private wanted = false;
  private hz = 2;
  private wait = kFirstWait;
  private timer = 0;

  constructor(
    private readonly state: MonitorState,
    private readonly onEvent: (event: string) => void,
    private readonly onStatus: (status: Status) => void,
  ) {
    document.addEventListener('visibilitychange', () => this.apply());
  }

  get running(): boolean {
    return this.wanted;
  }

  run(wanted: boolean): void {
    this.wanted = wanted;
    this.apply();
  }

  setRate(hz: number): void {
    if (hz === this.hz) return;
    this.hz = hz;
    this.again();
  }

  // From the beginning, as with another key.
  again(): void {
    this.close();
    this.apply();
  }

  private close(): void {
    clearTimeout(this.timer);
    this.controller?.abort();
    this.controller = null;
  }

  private apply(): void {
    if (!this.wanted || document.hidden) {
      this.close();
      this.onStatus({ kind: 'paused' });
    } else if (!this.controller) {
      this.controller = new AbortController();
      void this.read(this.controller);
    }
  }

  private async read(controller: AbortController): Promise<void> {
    let message = '';
    this.onStatus({ kind: 'connecting' });
    try {
      const response = await this.open(controller.signal);
      if (response) await this.readStream(response, controller.signal);
      else await this.readOwn(controller.signal);
      if (controller.signal.aborted) return;
    } catch (error) {
      if (controller.signal.aborted) return;
      message = error instanceof ApiError ? plainWords(error) : '';
    }
    this.onStatus({ kind: 'broken', message });
    this.timer = window.setTimeout(() => {
      this.controller = null;
      this.apply();
    }, this.wait);
    this.wait = Math.min(2 * this.wait, kLongestWait);
  }

  // Null: the key is not for the stream.
  private async open(signal: AbortSignal): Promise<Response | null> {
    const since = this.state.frame ? `&since=${this.state.frame.seq}` : '';
    try {
      return await call(`/admin/monitor/stream?hz=${this.hz}&text=1${since}`, { signal, keepKey: true });
    } catch (error) {
      if (lacksRights(error) && storedKey()) return null;
      throw error;
    }
  }

  private async readStream(response: Response, signal: AbortSignal): Promise<void> {
    for await (const { event, data } of readEvents(response.body!)) {
      if (signal.aborted) return;
      this.took(event, JSON.parse(data));
    }
  }

  private async readOwn(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      this.took('own', await callJson<Own>('/v1/requests', { signal }));
      await new Promise((resolve) => setTimeout(resolve, kOwnEvery));
    }
  }

  private took(event: string, data: unknown): void {
    this.wait = kFirstWait;
    this.state.take(event, data);
    this.onStatus({ kind: 'live' });
    this.onEvent(event);
  }
}

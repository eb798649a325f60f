// Keeps the stream open while somebody looks: closed in a hidden tab, opened again after an error with growing patience.
import { ApiError, call, plainWords } from '../api';
import { readEvents } from '../sse';
import type { MonitorState } from './decode';

const kFirstWait = 500; // ms
const kLongestWait = 8000;

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
    let message: string;
    this.onStatus({ kind: 'connecting' });
    try {
      const since = this.state.frame ? `&since=${this.state.frame.seq}` : '';
      const response = await call(`/admin/monitor/stream?hz=${this.hz}${since}`, { signal: controller.signal });
      for await (const { event, data } of readEvents(response.body!)) {
        if (controller.signal.aborted) return;
        this.wait = kFirstWait;
        this.state.take(event, JSON.parse(data));
        this.onStatus({ kind: 'live' });
        this.onEvent(event);
      }
      message = '';
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
}

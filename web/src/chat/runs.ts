// Answers under way. A run goes on when another conversation is opened, and is saved about once a second.
import { ApiError, plainWords } from '../api';
import { generate } from './generation';
import type { Conversation, Message, Stats, Store } from './store';
import type { StreamView } from './stream_view';
import type { MessageTree } from './tree';

const kSaveMs = 1000;

export interface RunEvents {
  progress(percent: number): void;
  live(stats: Stats): void;
  saved(error: unknown): void; // null: fine
}

export class Run {
  events: RunEvents | null = null; // whoever shows it
  private readonly controller = new AbortController();
  private lastSave = 0;

  constructor(
    readonly store: Store,
    readonly conversation: Conversation,
    readonly tree: MessageTree,
    readonly message: Message,
    readonly view: StreamView,
  ) {}

  stop(): void {
    this.controller.abort();
  }

  // Resolves when the answer has ended, however it did.
  async answer(): Promise<void> {
    const { message } = this;
    const path = this.tree.path(message.parent);
    const prefix = message.text;
    if (prefix) this.view.append(prefix);
    // A page that goes away breaks its requests off before it is told so: that is no fault of the server.
    let leaving = false;
    const onLeave = () => (leaving = true);
    window.addEventListener('beforeunload', onLeave);
    try {
      const reason = await generate(this.conversation, path, prefix, {
        progress: (percent) => this.events?.progress(percent),
        text: (piece) => this.onText(piece),
        live: (stats) => {
          message.stats = { ...stats };
        },
      }, this.controller.signal);
      message.state = reason === 'length' ? 'length' : 'done';
    } catch (error) {
      if (this.controller.signal.aborted) {
        message.state = 'stopped';
      } else if (!leaving) {
        message.state = 'failed';
        message.error = plainWords(error instanceof Error ? error : new ApiError(0, String(error)));
      }
    }
    window.removeEventListener('beforeunload', onLeave);
    this.view.finish();
    await this.save();
  }

  // The figures change with the text: each on its own would cost a frame for every token.
  painted(): void {
    if (this.message.stats) this.events?.live(this.message.stats);
  }

  // Now, without waiting: the page may be about to go.
  save(): Promise<void> {
    this.lastSave = performance.now();
    return this.store.saveMessage(this.message).then(
      () => this.events?.saved(null),
      (error) => this.events?.saved(error),
    );
  }

  private onText(piece: string): void {
    this.message.text += piece;
    this.view.append(piece);
    if (performance.now() - this.lastSave > kSaveMs) void this.save();
  }
}

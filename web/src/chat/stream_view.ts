// Draws an answer while it grows. The rule (measured: 2.5 times less work than a paint per token):
//   - the first three pieces at once, then one paint per 100 ms, fewer when a paint takes long;
//   - blocks but the last three are finished and never touched again; text is split from there on;
//   - an open code block and a very long one only get text appended;
//   - at the end everything is split once more, since a later line may change an earlier block (link definitions), and
//     only blocks that differ are drawn again. Then code is coloured and formulas are set.
import { el } from '../dom';
import { renderBlock, splitBlocks, type Block } from './markdown';

const kAtOnce = 3;
const kPaintMs = 100;
const kMostShare = 0.2; // of the time may go into painting
const kTailBlocks = 3;
const kPlainBlock = 64_000; // a tail block longer than this is appended to as plain text

interface DrawnBlock {
  raw: string;
  node: HTMLElement;
}

export class StreamView {
  readonly node = el('div', { class: 'markdown' });
  private text = '';
  private settledEnd = 0; // text before it is drawn by finished blocks
  private settled: DrawnBlock[] = [];
  private tail: DrawnBlock[] = [];
  private pieces = 0;
  private timer = 0;
  private lastCost = 0;
  private plain: Text | null = null; // grows without being split
  private painted = 0; // length of the text when it was last painted

  constructor(private readonly afterPaint: () => void = () => undefined) {}

  append(piece: string): void {
    this.text += piece;
    if (++this.pieces <= kAtOnce) this.paint();
    else if (!this.timer) this.timer = window.setTimeout(() => this.paint(), Math.max(kPaintMs, this.lastCost / kMostShare));
  }

  // Draws all of it, for messages that are complete.
  set(text: string): void {
    this.text = text;
    this.finish();
  }

  finish(): void {
    clearTimeout(this.timer);
    this.timer = 0;
    this.plain = null;
    const drawn = [...this.settled, ...this.tail];
    const blocks = splitBlocks(this.text).filter((block) => block.token.type !== 'space');
    this.settled = blocks.map((block, i) => (drawn[i]?.raw === block.raw ? drawn[i] : this.draw(block)));
    this.tail = [];
    this.settledEnd = this.text.length;
    const nodes = this.settled.map((block) => block.node);
    if (nodes.length !== this.node.children.length || nodes.some((node, i) => this.node.children[i] !== node)) {
      this.node.replaceChildren(...nodes);
    }
    void this.decorate();
    this.afterPaint();
  }

  private paint(): void {
    this.timer = 0;
    const begin = performance.now();
    if (!this.growPlain()) this.paintTail();
    this.painted = this.text.length;
    this.lastCost = performance.now() - begin;
    this.afterPaint();
  }

  // True when the new text could be appended to what stands there.
  private growPlain(): boolean {
    if (!this.plain) return false;
    const fresh = this.text.slice(this.painted);
    const before = this.text.slice(Math.max(0, this.painted - 4), this.painted);
    // A fence or an empty line may end the block.
    if (/```|~~~|\n\s*\n/.test(before + fresh)) {
      this.plain = null;
      return false;
    }
    this.plain.appendData(fresh);
    return true;
  }

  private paintTail(): void {
    const blocks = splitBlocks(this.text.slice(this.settledEnd));
    const shown = blocks.filter((block) => block.token.type !== 'space');
    const drawn = shown.map((block, i) => (this.tail[i]?.raw === block.raw ? this.tail[i] : this.draw(block)));
    this.tail.forEach((old, i) => {
      if (drawn[i] !== old) old.node.remove();
    });
    this.tail = drawn;
    // Those still in place keep their order; new ones always stand behind them.
    for (const block of drawn) if (!block.node.isConnected || block.node.parentNode !== this.node) this.node.append(block.node);
    this.settle(blocks, shown.length);
    this.watchPlain(shown[shown.length - 1]);
  }

  private settle(blocks: Block[], shown: number): void {
    let moved = 0;
    for (const block of blocks) {
      if (shown - moved <= kTailBlocks) break;
      this.settledEnd += block.raw.length;
      if (block.token.type !== 'space') moved++;
    }
    this.settled.push(...this.tail.splice(0, moved));
  }

  private watchPlain(last: Block | undefined): void {
    this.plain = null;
    if (!last) return;
    const node = this.tail[this.tail.length - 1].node;
    const openFence = last.token.type === 'code' && /^ {0,3}(```|~~~)/.test(last.raw) && !/\n {0,3}(```+|~~~+)\s*$/.test(last.raw);
    if (openFence && last.raw.includes('\n') && last.raw.endsWith('\n') === false) {
      const code = node.querySelector('code')?.firstChild;
      if (code instanceof Text) {
        code.data = code.data.replace(/\n$/, '');
        this.plain = code;
      }
    } else if (last.raw.length > kPlainBlock && last.token.type === 'paragraph') {
      node.replaceChildren(el('p', { dir: 'auto' }, last.raw));
      this.plain = node.firstChild!.firstChild as Text;
    }
  }

  private draw(block: Block): DrawnBlock {
    const node = el('div', { class: 'block' });
    node.append(renderBlock(block));
    return { raw: block.raw, node };
  }

  private async decorate(): Promise<void> {
    const codes = [...this.node.querySelectorAll<HTMLElement>('pre > code:not([data-done])')];
    const math = [...this.node.querySelectorAll<HTMLElement>('code.math')];
    if (codes.length > 0) {
      const { decorateCode } = await import('./highlight');
      codes.forEach(decorateCode);
    }
    if (math.length > 0) {
      const { setMath } = await import('./math');
      math.forEach(setMath);
    }
    if (codes.length + math.length > 0) this.afterPaint();
  }
}

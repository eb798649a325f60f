// The KV cache as a map: one cell per block (or per group of blocks), in the order of the pool.
import { el } from '../dom';
import { formatNumber } from '../i18n';
import { colour, kBlockLetters, kBlockStates, prepare } from './colours';
import type { MonitorState } from './decode';
import { dataTable, Panel } from './panel';
import { m } from './texts';

export class KvMap {
  readonly panel: Panel;
  private readonly canvas = el('canvas', { class: 'kvmap', role: 'img', 'aria-label': m.kv });
  private readonly legend = el('div', { class: 'legend' });
  private drawn: unknown = null;

  constructor(private readonly state: MonitorState) {
    this.panel = new Panel(m.kv, '', () => this.table());
    this.panel.body.append(this.canvas, this.legend);
  }

  private rows(): [string, string, string][] {
    const map = this.state.kvmap;
    if (!map) return [];
    return map.counts.map((count, i) => [`${kBlockLetters[i]} ${m.blocks[i]}`.trim(), formatNumber(count), `${formatNumber((100 * count) / map.blocks, 1)} %`]);
  }

  private table(): HTMLElement {
    return dataTable(m.kv, [m.state, m.count, m.share], this.rows());
  }

  draw(force = false): void {
    const { kvmap, hello } = this.state;
    if (!kvmap || !hello || (!force && this.drawn === kvmap && this.canvas.width > 0)) return;
    const used = kvmap.blocks - kvmap.counts[0] - kvmap.counts[3] - kvmap.counts[6];
    const summary = m.kvOf(formatNumber(used), formatNumber(kvmap.blocks));
    this.panel.note.textContent = `${summary}, ${m.blockTokens(hello.kv.block_tokens)}`;
    this.canvas.setAttribute('aria-label', `${m.kv}: ${summary}`);
    this.panel.refreshTable();
    const surface = prepare(this.canvas);
    if (!surface) return;
    this.drawn = kvmap;
    const { g, width, height } = surface;
    const cells = kvmap.runs.reduce((sum, n, i) => sum + (i % 2 ? n : 0), 0);
    let side = Math.max(2, Math.floor(Math.sqrt((width * height) / Math.max(1, cells))));
    while (side > 2 && Math.ceil(cells / Math.floor(width / side)) * side > height) side--;
    side = Math.min(side, 22);
    const columns = Math.max(1, Math.floor(width / side));
    const gap = side > 5 ? 1 : 0;
    const fills = kBlockStates.map((_, i) => colour(`block${i}`));
    let at = 0;
    for (let i = 0; i + 1 < kvmap.runs.length; i += 2) {
      g.fillStyle = fills[kvmap.runs[i]] ?? fills[0];
      for (let n = 0; n < kvmap.runs[i + 1]; n++, at++) {
        g.fillRect((at % columns) * side, Math.floor(at / columns) * side, side - gap, side - gap);
      }
    }
    this.legend.replaceChildren(...this.rows().flatMap(([name, count], i) =>
      i === 0 || kvmap.counts[i] > 0 ? [el('span', { class: `key block${i}` }, `${name} ${count}`)] : []));
  }
}

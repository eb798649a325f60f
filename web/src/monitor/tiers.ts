// Where KV is kept: memory and disk, and where prompts were found.
import { el } from '../dom';
import { formatBytes, formatNumber } from '../i18n';
import { dataTable, type Cell } from './panel';
import type { Tiers } from './schema';
import { m } from './texts';

export function tiersContent(tiers: Tiers): HTMLElement[] {
  const d = m.tier;
  const { memory, disk, prompt_tokens: all } = tiers;
  const share = (tokens: number) => (all > 0 ? `${formatNumber((100 * tokens) / all, 1)} %` : '–');
  const rows: Cell[][] = [
    [d.memory, formatNumber(memory.blocks), formatBytes(memory.bytes), '–',
      d.blocks(formatNumber(memory.held), formatNumber(memory.cached), formatNumber(memory.free)), formatNumber(memory.hit_tokens), share(memory.hit_tokens)],
    disk
      ? [d.disk, formatNumber(disk.blocks), formatBytes(disk.bytes), formatBytes(disk.limit_bytes),
        d.records(formatNumber(disk.written), formatNumber(disk.dropped), formatNumber(disk.damaged), formatNumber(disk.write_errors)),
        formatNumber(disk.hit_tokens), share(disk.hit_tokens)]
      : [d.disk, '–', '–', '–', d.noDisk, '–', '–'],
    [d.computed, '–', '–', '–', '–', formatNumber(tiers.computed_tokens), share(tiers.computed_tokens)],
  ];
  return [
    dataTable(m.tabs.tiers, [d.tier, d.blockCount, d.size, d.limit, d.what, d.tokens, m.share], rows),
    el('p', { class: 'dim' }, d.note(formatNumber(all), formatNumber(tiers.block_tokens), formatBytes(memory.block_bytes), formatNumber(memory.also_on_disk))),
  ];
}

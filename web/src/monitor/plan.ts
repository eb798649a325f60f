// What runs where: facts of the model, time and rates of each operator, and the plan layer by layer.
import { el } from '../dom';
import { formatBytes, formatNumber, formatShort } from '../i18n';
import { dataTable } from './panel';
import type { Hello, Plan } from './schema';
import { m } from './texts';

type Work = Pick<Plan['rows'][number], 'ms' | 'bytes' | 'macs' | 'calls' | 'weight_bytes' | 'token_macs'>;

// Attention multiplies floats, for which no limit is measured: it is held against memory alone.
function limitShare(op: string, work: Work, plan: Plan): number | null {
  if (work.ms === 0 || work.bytes + work.macs === 0) return null;
  const memory = plan.limit_gbs ? work.bytes / work.ms / 1e6 / plan.limit_gbs : null;
  const compute = plan.limit_gmacs && op !== 'attention' ? work.macs / work.ms / 1e6 / plan.limit_gmacs : null;
  return memory === null && compute === null ? null : Math.max(memory ?? 0, compute ?? 0);
}

const rate = (amount: number, ms: number) => (ms > 0 && amount > 0 ? formatShort(amount / ms / 1e6) : '–');
const percent = (share: number | null, digits = 0) => (share === null ? '–' : `${formatNumber(100 * share, digits)} %`);
const bytes = (value: number) => (value > 0 ? formatBytes(value) : '–');

export function operatorTable(plan: Plan): HTMLElement {
  const sums = new Map<string, Work>();
  for (const row of plan.rows) {
    const sum = sums.get(row.op) ?? { ms: 0, bytes: 0, macs: 0, calls: 0, weight_bytes: 0, token_macs: 0 };
    for (const key of Object.keys(sum) as (keyof Work)[]) sum[key] += row[key];
    sums.set(row.op, sum);
  }
  const all = plan.rows.reduce((sum, row) => sum + row.ms, 0);
  const p = m.plan;
  return dataTable(p.byOperator, [p.operator, p.weights, p.macs, p.time, p.timeShare, 'GB/s', 'GMAC/s', p.ofLimit],
    [...sums].map(([op, work]) => [
      op, bytes(work.weight_bytes), work.token_macs > 0 ? formatShort(work.token_macs / 1e6) : '–', `${formatNumber(work.ms)} ms`,
      percent(all > 0 ? work.ms / all : null, 1), rate(work.bytes, work.ms), rate(work.macs, work.ms), percent(limitShare(op, work, plan)),
    ]));
}

export function layerTable(plan: Plan): HTMLElement {
  const p = m.plan;
  const all = plan.rows.reduce((sum, row) => sum + row.ms, 0);
  const device = `${plan.device} × ${plan.threads}`;
  return dataTable(p.byLayer, [p.layer, p.operator, p.device, p.kernels, p.format, p.weights, p.time, p.timeShare, 'GB/s', 'GMAC/s', p.ofLimit],
    plan.rows.map((row) => [
      row.layer < 0 ? '–' : String(row.layer), row.op, device, plan.kernel || '–', row.what || '–', bytes(row.weight_bytes),
      `${formatNumber(row.ms)} ms`, percent(all > 0 ? row.ms / all : null, 2), rate(row.bytes, row.ms), rate(row.macs, row.ms), percent(limitShare(row.op, row, plan)),
    ]));
}

// Of /props, where this key may read it.
export interface Props {
  model_path?: string;
  kv_bytes?: number;
  total_slots?: number;
}

export function planContent(plan: Plan, hello: Hello, props: Props): HTMLElement[] {
  const p = m.plan;
  const facts: [string, string][] = [
    [p.model, hello.model.id], [p.file, props.model_path?.split('/').pop() ?? '–'], [p.architecture, hello.model.type],
    [p.parameters, formatNumber(hello.model.parameters)], [p.layers, formatNumber(hello.model.layers)], [p.context, formatNumber(hello.model.ctx)],
    [p.device, `${plan.device}, ${plan.threads} ${p.threads}`], [p.kernels, plan.kernel || '–'], [p.batch, props.total_slots ? formatNumber(props.total_slots) : '–'],
    [p.weights, formatBytes(plan.weight_bytes)], [p.kvBytes, bytes(props.kv_bytes ?? 0)], [p.workspace, formatBytes(plan.workspace_bytes)],
    [p.version, hello.server.version],
  ];
  return [
    el('dl', { class: 'tab-facts' }, ...facts.map(([name, value]) => el('div', {}, el('dt', {}, name), el('dd', {}, value)))),
    el('h3', {}, p.byOperator), operatorTable(plan),
    el('h3', {}, p.byLayer), layerTable(plan),
  ];
}

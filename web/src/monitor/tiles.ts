// The figures on top: throughput, the two roofline gauges, requests, latency, power.
import { el } from '../dom';
import { formatNumber, formatShort } from '../i18n';
import type { MonitorState } from './decode';
import { m } from './texts';

class Tile {
  readonly node: HTMLElement;
  private readonly value = el('span', { class: 'tile-value number' }, '–');
  private readonly unit = el('span', { class: 'tile-unit dim' });
  private readonly sub = el('div', { class: 'tile-sub dim' });
  private readonly gauge: HTMLMeterElement | null;

  constructor(title: string, withGauge = false) {
    this.gauge = withGauge ? el('meter', { min: '0', max: '1', 'aria-label': title }) : null;
    this.node = el('div', { class: 'tile' }, el('h2', {}, title), el('div', {}, this.value, ' ', this.unit), this.gauge, this.sub);
  }

  set(value: string, unit: string, sub: string, share: number | null = null): void {
    this.value.textContent = value;
    this.unit.textContent = unit;
    this.sub.textContent = sub;
    this.sub.title = sub;
    if (!this.gauge) return;
    this.gauge.hidden = share === null;
    this.gauge.value = Math.min(1, share ?? 0);
  }
}

const ms = (value: number | null) => (value === null ? '–' : formatShort(value));

export class Tiles {
  private readonly decode = new Tile(m.decode);
  private readonly prefill = new Tile(m.prefill);
  private readonly memory = new Tile(m.memory, true);
  private readonly compute = new Tile(m.compute, true);
  private readonly queue = new Tile(m.queue);
  private readonly ttft = new Tile(m.ttft);
  private readonly itl = new Tile(m.itl);
  private readonly power = new Tile(m.power);
  readonly node = el('div', { class: 'tiles' },
    ...[this.decode, this.prefill, this.memory, this.compute, this.queue, this.ttft, this.itl, this.power].map((tile) => tile.node));

  constructor(private readonly state: MonitorState) {}

  draw(): void {
    const { frame, hello } = this.state;
    if (!frame || !hello) return;
    const { tok, roof, lat, q } = frame;
    this.decode.set(formatShort(tok.dec), m.perSecond, m.bound[roof.bound]);
    this.prefill.set(formatShort(tok.pre), m.perSecond, tok.rec > 0 ? `+ ${formatShort(tok.rec)} ${m.kinds[2]}` : '');
    this.roof(this.memory, roof.gbs, hello.machine.limit_gbs, 'GB/s');
    this.roof(this.compute, roof.gmacs, hello.machine.limit_gmacs, 'GMAC/s');
    this.queue.set(formatNumber(q.run), m.running, m.waiting(q.wait));
    this.ttft.set(ms(lat.ttft[0]), 'ms', `${m.p99} ${ms(lat.ttft[1])} ms`);
    this.itl.set(ms(lat.itl[0]), 'ms', `${m.p99} ${ms(lat.itl[1])} ms`);
    if (frame.power_w === undefined) this.power.set('–', '', `${m.noPower}: ${hello.power}`);
    else this.power.set(formatShort(frame.power_w), 'W', tok.dec > 0 ? `${formatShort(frame.power_w / tok.dec)} J/token` : '');
  }

  private roof(tile: Tile, value: number, limit: number | null, unit: string): void {
    if (limit === null) tile.set(formatShort(value), unit, m.noLimit, null);
    else tile.set(formatShort(value), unit, `${formatNumber((100 * value) / limit)} % ${m.ofLimit(`${formatShort(limit)} ${unit}`)}`, value / limit);
  }
}

// The doctor's findings, and the latest lines of the log: routes, labels and numbers, never text of users.
import { el } from '../dom';
import { formatNumber, language } from '../i18n';
import type { MonitorState } from './decode';
import { dataTable } from './panel';
import { duration, showRequest } from './requests';
import type { Doctor, Log } from './schema';
import { m } from './texts';

export function doctorContent(doctor: Doctor, missed: number): HTMLElement[] {
  const d = m.doctor;
  const list = (live: boolean) => {
    const findings = doctor.findings.filter((finding) => finding.live === live);
    if (live) findings.push({ name: d.lost, status: missed === 0 ? 'ok' : 'warn', value: formatNumber(missed), advice: missed === 0 ? '' : d.lostFix, live });
    return el('ul', { class: 'doctor' }, ...findings.map(({ name, status, value, advice }) =>
      el('li', {}, el('span', { class: status }, status === 'ok' ? `✓ ${d.ok}` : `! ${d.warn}`), el('span', {}, d.names[name] ?? name),
        el('span', { class: 'dim' }, value, advice ? ' · ' : '', advice && el('strong', {}, advice)))));
  };
  return [el('h3', {}, d.now), list(true), el('h3', {}, d.atStart), list(false)];
}

const kShownLines = 200;

export function logContent(lines: Log['lines'], state: MonitorState): HTMLElement[] {
  const hello = state.hello!;
  if (lines.length === 0) return [el('p', { class: 'dim' }, m.log.none)];
  const clock = new Intl.DateTimeFormat(language, { hour: '2-digit', minute: '2-digit', second: '2-digit', fractionalSecondDigits: 3 });
  const rows = lines.slice(-kShownLines).reverse().map(({ t_ms, level, event, facts }) => {
    const { request, ...others } = facts;
    const text = Object.entries(others).map(([name, value]) => (name === 'ms' || name.endsWith('_ms') ? `${name} ${duration(Number(value))}` : `${name} ${value}`)).join(' · ');
    return [
      clock.format(hello.unix_ms + t_ms - hello.t_ms),
      el('span', { class: level === 'info' ? 'dim' : 'fault' }, m.log.levels[level]), event,
      el('span', {}, request !== undefined && el('button', { type: 'button', class: 'link', 'aria-label': m.details(Number(request)), onclick: () => void showRequest(Number(request), state) }, String(request)), ' ', text),
    ];
  });
  return [dataTable(m.tabs.log, [m.time, m.log.level, m.log.event, m.log.facts], rows)];
}

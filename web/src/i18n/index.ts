// The page's texts. English is the typed original and always there; other languages load when chosen.
import { en } from './en';

type Loosen<T> = T extends string ? string
  : T extends (...args: infer A) => string ? (...args: A) => string
  : { [K in keyof T]: Loosen<T[K]> };
export type Texts = Loosen<typeof en>;

export const kLanguages: Record<string, string> = { en: 'English', de: 'Deutsch' };

export let t: Texts = en;
export let language = 'en';

export async function loadLanguage(): Promise<void> {
  const wanted = localStorage.getItem('serval.language') ?? navigator.language.slice(0, 2);
  if (wanted !== 'de') return;
  t = (await import('./de')).de;
  language = 'de';
  document.documentElement.lang = 'de';
}

const formats: Intl.NumberFormat[] = []; // by digits: making one takes longer than all else here

export function formatNumber(value: number, digits = 0): string {
  formats[digits] ??= new Intl.NumberFormat(language, { maximumFractionDigits: digits, minimumFractionDigits: digits });
  return formats[digits].format(value);
}
// Three figures that matter: 0.21, 3.4, 187.
export function formatShort(value: number): string {
  return formatNumber(value, value < 1 ? 2 : value < 20 ? 1 : 0);
}
export function formatTime(time: number): string {
  return new Intl.DateTimeFormat(language, { dateStyle: 'medium', timeStyle: 'short' }).format(time);
}
export function formatBytes(bytes: number): string {
  const units = ['B', 'KB', 'MB', 'GB', 'TB'];
  let unit = 0;
  while (bytes >= 1000 && unit < units.length - 1) {
    bytes /= 1000;
    unit++;
  }
  return `${formatNumber(bytes, unit > 0 && bytes < 10 ? 1 : 0)} ${units[unit]}`;
}

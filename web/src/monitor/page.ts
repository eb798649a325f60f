import { el } from '../dom';
export class MonitorPage {
  readonly node = el('main', {}, el('h1', {}, 'Monitor'));
  constructor(readonly toChat: () => void) {}
  shown(): void {}
  hidden(): void {}
}

// The box in which messages are written. What is typed is kept per conversation until it is sent, also over a reload.
import { el, icon, iconButton, toast } from '../dom';
import { t } from '../i18n';
import type { Attachment } from './store';

const kMostFile = 1_000_000; // bytes
const kDraft = 'serval.draft.';

export interface ComposerActions {
  send(text: string, attachments: Attachment[]): void;
  stop(): void;
  editLast(): void;
}

export class Composer {
  readonly node: HTMLElement;
  private readonly box: HTMLTextAreaElement;
  private readonly button: HTMLButtonElement;
  private readonly files = el('ul', { class: 'files' });
  private readonly status = el('div', { class: 'composer-status dim', id: 'composer-status' });
  private attachments: Attachment[] = [];
  private conversation = '';
  private busy = false;

  constructor(private readonly actions: ComposerActions) {
    this.box = el('textarea', {
      id: 'message-box', rows: '1', placeholder: t.placeholder, 'aria-label': t.placeholder, dir: 'auto', enterkeyhint: 'send',
      oninput: () => this.changed(), onkeydown: (event: KeyboardEvent) => this.onKey(event),
      onpaste: (event: ClipboardEvent) => this.onFiles(event, event.clipboardData?.files),
    });
    this.button = el('button', { type: 'submit', class: 'send', id: 'send' });
    const chooser = el('input', { type: 'file', multiple: true, hidden: true, 'aria-label': t.attach });
    chooser.addEventListener('change', () => {
      void this.attach(chooser.files);
      chooser.value = '';
    });
    const submit = (event: Event) => {
      event.preventDefault();
      if (this.busy) this.actions.stop();
      else this.send();
    };
    this.node = el('form', { class: 'composer', onsubmit: submit },
      this.files,
      el('div', { class: 'composer-row' },
        iconButton('clip', t.attach, () => chooser.click()), chooser, this.box, this.button),
      this.status);
    this.node.addEventListener('dragover', (event) => event.preventDefault());
    this.node.addEventListener('drop', (event) => this.onFiles(event, event.dataTransfer?.files));
    this.setBusy(false);
  }

  focus(): void {
    this.box.focus();
  }

  // Fills the box and nothing more: a link must never send.
  prefill(text: string): void {
    this.box.value = text;
    this.changed();
    this.focus();
  }

  open(conversation: string): void {
    this.conversation = conversation;
    this.box.value = localStorage.getItem(kDraft + conversation) ?? '';
    this.attachments = [];
    this.showFiles();
    this.resize();
  }

  keepDraftsFor(conversation: string): void {
    this.conversation = conversation;
    this.changed();
  }

  setBusy(busy: boolean): void {
    this.busy = busy;
    const label = busy ? t.stop : t.send;
    this.button.setAttribute('aria-label', label);
    this.button.title = label;
    this.button.classList.toggle('busy', busy);
    this.button.replaceChildren(icon(busy ? 'stop' : 'send'));
  }

  setStatus(text: string): void {
    this.status.textContent = text;
  }

  private changed(): void {
    try {
      if (this.box.value) localStorage.setItem(kDraft + this.conversation, this.box.value);
      else localStorage.removeItem(kDraft + this.conversation);
    } catch {
      // no room: the text stays in the box
    }
    this.resize();
  }

  private resize(): void {
    this.box.rows = Math.min(12, Math.max(1, this.box.value.split('\n').length));
    while (this.box.scrollHeight > this.box.clientHeight + 2 && this.box.rows < 12) this.box.rows++;
  }

  private onKey(event: KeyboardEvent): void {
    if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      if (!this.busy) this.send();
    } else if (event.key === 'ArrowUp' && this.box.value === '') {
      event.preventDefault();
      this.actions.editLast();
    }
  }

  private send(): void {
    const text = this.box.value.trim();
    if (!text && this.attachments.length === 0) return;
    const attachments = this.attachments;
    this.attachments = [];
    this.box.value = '';
    this.changed();
    this.showFiles();
    this.actions.send(text, attachments);
  }

  private onFiles(event: Event, files: FileList | undefined | null): void {
    if (!files?.length) return;
    event.preventDefault();
    void this.attach(files);
  }

  private async attach(files: FileList | null | undefined): Promise<void> {
    for (const file of [...(files ?? [])]) {
      if (file.size > kMostFile) {
        toast(t.tooLarge(file.name), 'error');
        continue;
      }
      try {
        const text = new TextDecoder('utf-8', { fatal: true }).decode(await file.arrayBuffer());
        if (text.includes('\0')) throw new Error('binary');
        this.attachments.push({ name: file.name, text });
      } catch {
        toast(t.notText(file.name), 'error');
      }
    }
    this.showFiles();
    this.focus();
  }

  private showFiles(): void {
    this.files.replaceChildren(...this.attachments.map((file) =>
      el('li', { class: 'file' }, el('bdi', {}, file.name), iconButton('close', t.removeFile(file.name), () => {
        this.attachments = this.attachments.filter((other) => other !== file);
        this.showFiles();
      }))));
  }
}

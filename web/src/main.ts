// Two pages in one document, so that an answer goes on while one looks at the engine: / is the chat, /monitor the view
// into the engine. The monitor's code loads when it is first opened.
import { ChatPage } from './chat/page';
import { Store } from './chat/store';
import { el, replace } from './dom';
import { loadLanguage, t } from './i18n';
import { applyTheme } from './theme';

interface Page {
  node: HTMLElement;
  shown(): void;
  hidden(): void;
}

const kMonitorPath = '/monitor';

async function start(): Promise<void> {
  applyTheme();
  await loadLanguage();
  const root = el('div', { id: 'root' });
  const skip = el('a', { class: 'skip' }, t.skip);
  document.body.replaceChildren(
    skip, root,
    el('div', { id: 'announcements', class: 'offscreen', 'aria-live': 'polite' }),
    el('div', { id: 'toasts', role: 'status' }));

  let chat: ChatPage | null = null;
  let monitor: Page | null = null;
  let current: Page | null = null;

  const go = (path: string) => {
    history.pushState(null, '', path);
    void show();
  };
  const chatPage = async () => {
    if (!chat) {
      chat = new ChatPage(await Store.open(), () => go(kMonitorPath));
      replace(root, chat.node);
      await chat.start();
    }
    return chat;
  };
  const monitorPage = async () => {
    const { MonitorPage } = await import('./monitor/page');
    return (monitor ??= new MonitorPage(() => go('/')));
  };
  const show = async () => {
    const page: Page = location.pathname === kMonitorPath ? await monitorPage() : await chatPage();
    if (page === current) return;
    current?.hidden();
    current = page;
    skip.href = page === chat ? '#message-box' : '#monitor-main';
    replace(root, page.node);
    page.shown();
  };
  window.addEventListener('popstate', () => void show());
  await show();
}

void start();

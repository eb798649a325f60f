// A model's answer as markdown. marked parses, DOMPurify cleans every block, nothing else touches innerHTML.
//
// HTML that the model wrote is shown as text, but for a few harmless tags without attributes. Pictures become links: a
// picture's address could carry the conversation to a stranger. Links open in a new tab and may be http, https or mailto.
import DOMPurify from 'dompurify';
import { Lexer, Marked, type Token, type Tokens } from 'marked';
import { t } from '../i18n';

const kHarmless = /^<\/?(br|sub|sup|kbd|b|i|em|strong|mark|s|del|ins|small)\s*\/?>$/i;
const kInlineLimit = 20_000; // a longer block is shown as it is: some inline rules are quadratic
const kMath = /^(\$\$|\\\[)([\s\S]+?)(\$\$|\\\])|^\\\(([^\n]+?)\\\)|^\$(?![\s\d$])((?:\\.|[^$\n\\])+?)(?<!\s)\$(?!\d)/;

export interface Block {
  raw: string;
  token: Token;
}

function escape(text: string): string {
  return text.replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;').replace(/"/g, '&quot;');
}

const marked = new Marked({
  gfm: true,
  extensions: [{
    name: 'math',
    level: 'inline',
    start: (source: string) => {
      const at = source.search(/\$|\\\(|\\\[/);
      return at < 0 ? undefined : at;
    },
    tokenizer(source: string) {
      const match = kMath.exec(source);
      if (!match) return undefined;
      const display = match[2] !== undefined;
      return { type: 'math', raw: match[0], text: match[2] ?? match[4] ?? match[5], display };
    },
    renderer: (token) => `<code class="math${token.display ? ' display' : ''}">${escape(token.text)}</code>`,
  }],
  renderer: {
    html: ({ text }: Tokens.HTML | Tokens.Tag) => (kHarmless.test(text.trim()) ? text : escape(text)),
    image: ({ href, text }: Tokens.Image) => `<a href="${escape(href)}">${escape(t.imageBlocked(text || href))}</a>`,
    checkbox: ({ checked }: Tokens.Checkbox) => (checked ? '☑ ' : '☐ '),
    code: ({ text, lang }: Tokens.Code) => {
      const language = /^[\w+#-]{1,20}/.exec(lang ?? '')?.[0].toLowerCase() ?? '';
      return `<pre tabindex="0"><code class="code-${escape(language)}">${escape(text)}\n</code></pre>`;
    },
  },
});

const kAllowed = {
  ALLOWED_TAGS: ['a', 'b', 'blockquote', 'br', 'code', 'del', 'em', 'h1', 'h2', 'h3', 'h4', 'h5', 'h6', 'hr', 'i', 'ins', 'kbd',
    'li', 'mark', 'ol', 'p', 'pre', 's', 'small', 'strong', 'sub', 'sup', 'table', 'tbody', 'td', 'th', 'thead', 'tr', 'ul', 'span'],
  ALLOWED_ATTR: ['href', 'start', 'align', 'title', 'tabindex', 'class'],
  ALLOWED_URI_REGEXP: /^(?:https?:|mailto:)/i,
  ALLOW_DATA_ATTR: false,
  RETURN_DOM_FRAGMENT: true as const,
};

export function cleanHtml(html: string): DocumentFragment {
  return DOMPurify.sanitize(html, kAllowed);
}

// Block structure only; what is inside a block waits until it is rendered.
export function splitBlocks(source: string): Block[] {
  const lexer = new Lexer(marked.defaults);
  const tokens = lexer.blockTokens(source, []);
  for (const { src, tokens: inner } of lexer.inlineQueue) {
    if (src.length > kInlineLimit) inner.push({ type: 'text', raw: src, text: src, escaped: false } as Tokens.Text);
    else lexer.inlineTokens(src, inner);
  }
  return tokens.filter((token) => token.type !== 'def').map((token) => ({ raw: token.raw, token }));
}

// One block as clean nodes.
export function renderBlock(block: Block): DocumentFragment {
  const fragment = cleanHtml(marked.parser([block.token]));
  for (const link of fragment.querySelectorAll('a')) {
    link.target = '_blank';
    link.rel = 'noopener noreferrer nofollow';
    link.dir = 'auto';
  }
  for (const table of fragment.querySelectorAll('table')) {
    // Wide tables scroll by themselves; keyboards reach them, too.
    const scroller = document.createElement('div');
    scroller.className = 'table-scroll';
    scroller.tabIndex = 0;
    table.replaceWith(scroller);
    scroller.append(table);
  }
  for (const node of fragment.querySelectorAll('p, li, h1, h2, h3, h4, h5, h6, td, th')) node.setAttribute('dir', 'auto');
  return fragment;
}

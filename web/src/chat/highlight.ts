// Colours for code, loaded with the first code block. highlight.js core and 20 languages; nothing is guessed.
import hljs from 'highlight.js/lib/core';
import bash from 'highlight.js/lib/languages/bash';
import c from 'highlight.js/lib/languages/c';
import cpp from 'highlight.js/lib/languages/cpp';
import csharp from 'highlight.js/lib/languages/csharp';
import css from 'highlight.js/lib/languages/css';
import diff from 'highlight.js/lib/languages/diff';
import go from 'highlight.js/lib/languages/go';
import ini from 'highlight.js/lib/languages/ini';
import java from 'highlight.js/lib/languages/java';
import javascript from 'highlight.js/lib/languages/javascript';
import json from 'highlight.js/lib/languages/json';
import kotlin from 'highlight.js/lib/languages/kotlin';
import lua from 'highlight.js/lib/languages/lua';
import markdown from 'highlight.js/lib/languages/markdown';
import python from 'highlight.js/lib/languages/python';
import ruby from 'highlight.js/lib/languages/ruby';
import rust from 'highlight.js/lib/languages/rust';
import sql from 'highlight.js/lib/languages/sql';
import typescript from 'highlight.js/lib/languages/typescript';
import xml from 'highlight.js/lib/languages/xml';
import yaml from 'highlight.js/lib/languages/yaml';
import { copyText, el, iconButton, toast } from '../dom';
import { t } from '../i18n';
import { cleanHtml } from './markdown';

const kLanguages = { bash, c, cpp, csharp, css, diff, go, ini, java, javascript, json, kotlin, lua, markdown, python, ruby, rust, sql, typescript, xml, yaml };
for (const [name, definition] of Object.entries(kLanguages)) hljs.registerLanguage(name, definition);

const kMost = 60_000; // characters; longer code stays plain

// A head with the language and a copy button, and colours where the language is known.
export function decorateCode(code: HTMLElement): void {
  code.dataset.done = '1';
  const text = code.textContent ?? '';
  const language = code.className.replace(/^code-/, '');
  const copy = () => void copyText(text).then(() => toast(t.copied));
  code.parentElement!.before(el('div', { class: 'code-head' }, el('span', {}, language), iconButton('copy', t.codeCopy, copy)));
  if (!hljs.getLanguage(language) || text.length > kMost) return;
  code.replaceChildren(cleanHtml(hljs.highlight(text, { language, ignoreIllegals: true }).value));
}

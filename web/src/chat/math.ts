// Formulas as MathML, loaded with the first formula. Temml builds nodes; what a page without inline styles cannot show is dropped.
import temml from 'temml';

const kMost = 5000; // characters

export function setMath(code: HTMLElement): void {
  const source = code.textContent ?? '';
  if (source.length > kMost) return;
  const display = code.classList.contains('display');
  const node = document.createElement('span');
  node.className = display ? 'math-display' : 'math-inline';
  try {
    temml.render(source, node, { displayMode: display, throwOnError: true, trust: false, maxExpand: 200, maxSize: [20, 20] });
  } catch {
    return; // the source, as it was written, stays readable
  }
  code.replaceWith(node);
}

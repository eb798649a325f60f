// Light, dark or as the system has it: one attribute on the root; the colours are light-dark() pairs in the style sheet.
export type Theme = 'system' | 'light' | 'dark';

const kItem = 'serval.theme';

export function chosenTheme(): Theme {
  const value = localStorage.getItem(kItem);
  return value === 'light' || value === 'dark' ? value : 'system';
}

export function applyTheme(theme: Theme = chosenTheme()): void {
  if (theme === 'system') {
    localStorage.removeItem(kItem);
    delete document.documentElement.dataset.theme;
  } else {
    localStorage.setItem(kItem, theme);
    document.documentElement.dataset.theme = theme;
  }
}

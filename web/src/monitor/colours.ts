// Colours of canvases, read from the style sheet so that they follow the theme. A state is never a colour alone: each
// has a letter, shown in its legend and wherever there is room.

export const kKindLetters = ['P', 'D', 'R', 'S'];
export const kBlockStates = ['free', 'live', 'shared', 'cached', 'pinned', 'moving', 'disk'] as const;
export const kBlockLetters = ['', 'L', 'S', 'C', 'P', 'M', 'D'];

let probe: HTMLElement | null = null;

// A light-dark() custom property as a plain colour.
export function colour(name: string): string {
  if (!probe) {
    probe = document.createElement('i');
    probe.hidden = true;
    document.body.append(probe);
  }
  probe.style.color = `var(--${name})`;
  return getComputedStyle(probe).color;
}

// A canvas of the element's size in device pixels, cleared; null while it is not on the page.
export function prepare(canvas: HTMLCanvasElement): { g: CanvasRenderingContext2D; width: number; height: number } | null {
  const { clientWidth: width, clientHeight: height } = canvas;
  const g = canvas.getContext('2d');
  if (!g || width === 0 || height === 0) return null;
  const scale = window.devicePixelRatio || 1;
  const wide = Math.round(width * scale), high = Math.round(height * scale);
  if (canvas.width !== wide || canvas.height !== high) {
    canvas.width = wide;
    canvas.height = high;
  }
  g.setTransform(scale, 0, 0, scale, 0, 0);
  g.clearRect(0, 0, width, height);
  return { g, width, height };
}

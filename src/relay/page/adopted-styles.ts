/**
 * How does xterm.js get its styles past a policy that permits no inline ones? It makes `style` elements and writes text into them. While
 * it opens, the document hands out elements whose text goes to a sheet of the document, which the policy leaves to scripts (CSSOM,
 * `adoptedStyleSheets`).
 */

/** Does something, while each `style` element that is made becomes a sheet of the document. */
export function withAdoptedStyles(act: () => void): void {
  const createElement = document.createElement.bind(document)
  Object.defineProperty(document, 'createElement', {
    configurable: true,
    value: (name: string, options?: ElementCreationOptions) =>
      name === 'style' ? adoptedStyle(createElement('span')) : createElement(name, options),
  })
  try {
    act()
  } finally {
    // The method of every document is seen again.
    delete (document as { createElement?: unknown }).createElement
  }
}

/** Makes an element look like a `style` to those who write into it. */
function adoptedStyle(element: HTMLElement): HTMLElement {
  element.hidden = true
  const sheet = new CSSStyleSheet()
  let text = ''
  Object.defineProperty(element, 'textContent', {
    get: () => text,
    set(css: string) {
      text = css
      sheet.replaceSync(css)
    },
  })
  Object.defineProperty(element, 'remove', {
    value() {
      document.adoptedStyleSheets = document.adoptedStyleSheets.filter((each) => each !== sheet)
      element.replaceWith()
    },
  })
  document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet]
  return element
}

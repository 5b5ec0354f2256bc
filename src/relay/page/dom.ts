/** How does the page make its elements? With one function that takes text as text, so that nothing of an answer becomes markup. */

/** What an element contains. `false` and `undefined` leave a child out. */
export type Child = Node | string | false | undefined

/** Attributes and properties of an element. */
export interface ElementOptions {
  readonly id?: string
  readonly class?: string
  /** Other attributes, by name. */
  readonly attributes?: Readonly<Record<string, string>>
  /** Called when the element is clicked or, for a form, sent. */
  readonly onAct?: () => void
}

/** Makes an element. */
export function el<Name extends keyof HTMLElementTagNameMap>(
  name: Name,
  options: ElementOptions = {},
  ...children: readonly Child[]
): HTMLElementTagNameMap[Name] {
  const element = document.createElement(name)
  const { id, onAct, attributes = {} } = options
  if (id !== undefined) element.id = id
  if (options.class !== undefined) element.className = options.class
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value)
  element.append(...children.filter((child) => child !== undefined && child !== false))
  if (onAct !== undefined)
    element.addEventListener(name === 'form' ? 'submit' : 'click', (event) => {
      event.preventDefault()
      onAct()
    })
  return element
}

/** A button that does something. @param look `quiet` or `danger`; default: the main act of its screen */
export function actButton(label: string, onAct: () => void, look?: string): HTMLButtonElement {
  const type = { type: 'button' }
  return el(
    'button',
    { attributes: type, onAct, ...(look === undefined ? {} : { class: look }) },
    label,
  )
}

/** A field of a form with its label. */
export function field(
  label: Child,
  id: string,
  attributes: Readonly<Record<string, string>> = {},
): {
  readonly parts: readonly [HTMLLabelElement, HTMLInputElement]
  readonly input: HTMLInputElement
} {
  const input = el('input', {
    id,
    attributes: { type: 'text', autocomplete: 'off', ...attributes },
  })
  return { parts: [el('label', { attributes: { for: id } }, label), input], input }
}

/** Something that went wrong, which a screen reader says at once. */
export function alertOf(text: string | undefined): HTMLElement | undefined {
  if (text === undefined || text === '') return undefined
  return el('p', { class: 'alert', attributes: { role: 'alert' } }, text)
}

/** A sentence of an error: with a capital, and a full stop. */
export function sentence(text: string): string {
  const [first = '', ...rest] = text
  return `${first.toUpperCase()}${rest.join('')}${/[.!?]$/.test(text) ? '' : '.'}`
}

/** An element that is in the page from its beginning. */
export function part(id: string): HTMLElement {
  const found = document.getElementById(id)
  if (found === null) throw new Error(`the page has no ${id}`)
  return found
}

/** Of what is the owner's page made? Sections, lists, and forms with one button. */
import { html, type Html } from '../src/answers/html.ts'
import { hiddenFields } from '../src/answers/pages/elements.ts'
import { OWNER_PAGE } from '../src/answers/pages/paths.ts'

/** A part of the page, with a heading. @param more what stands beside the heading */
export function section(id: string, title: string, content: Html, more?: Html): Html {
  return html`<section class="card" id="${id}" aria-labelledby="${id}-title">
    <header>
      <h2 id="${id}-title">${title}</h2>
      ${more}
    </header>
    ${content}
  </section>`
}

/** A form with one button. @param hint what a screen reader says, so that equal buttons are told apart */
export function act(
  name: string,
  fields: Readonly<Record<string, string>>,
  label: string,
  hint = '',
  kind = 'danger',
): Html {
  const spoken = hint === '' ? label : `${label}: ${hint}`
  return html`<form method="post" action="${OWNER_PAGE}">
    ${hiddenFields({ act: name, ...fields })}<button class="${kind}" aria-label="${spoken}">
      ${label}
    </button>
  </form>`
}

/** A list. @param none what the page says in its place when it is empty */
export function rows(items: readonly Html[], none: string): Html {
  return items.length === 0
    ? html`<p class="soft">${none}</p>`
    : html`<ul class="rows">
        ${items}
      </ul>`
}

/** The attributes of an option that is chosen, and of details that are open. */
export const SELECTED = html`selected`
export const OPEN = html`open`

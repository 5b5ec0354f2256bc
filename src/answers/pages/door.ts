/** What is the sign of the gateway, in the bar of every page and in the tab of the browser? A door. */
import { html } from '../html.ts'

/** Its handle is a hole, so that it stands out on any background. */
const DOOR = html`<path
  fill-rule="evenodd"
  d="M3 1h10v14H3zM10.5 6.8a1.2 1.2 0 1 0 0 2.4 1.2 1.2 0 0 0 0-2.4z"
></path>`

/** For the brand at the top of a page, in the colour of the text around it. */
export const BRAND = html`<svg
  viewBox="0 0 16 16"
  width="24"
  height="24"
  fill="currentColor"
  aria-hidden="true"
>
  ${DOOR}
</svg>`

/** For the tab of the browser, as an SVG document. */
export const ICON = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16" fill="#2f55d4">${DOOR.text}</svg>`

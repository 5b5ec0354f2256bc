/** Which browsers run the remote page? Those with X25519 in WebCrypto and ES2024. The page, its build and its document ask here. */

/** The oldest of each, by the name that a build knows, with the name that a person knows. */
export const REMOTE_BROWSERS = [
  ['chrome', 'Chrome', '133'],
  ['firefox', 'Firefox', '130'],
  ['safari', 'Safari', '17.4'],
] as const

/** The same for a person: `Chrome 133, Firefox 130 or Safari 17.4`. */
export const REMOTE_BROWSER_NAMES = REMOTE_BROWSERS.map(([, name, version]) => `${name} ${version}`)
  .join(', ')
  .replace(/, (?=[^,]*$)/, ' or ')

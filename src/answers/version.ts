/** Which release of the gateway is this? The version in package.json, which the bundle contains (build/bundle.ts). */
import about from '../../package.json' with { type: 'json' }

/** The version, such as `1.2.3`. */
export const VERSION: string = about.version

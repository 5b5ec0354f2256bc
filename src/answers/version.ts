/** Which release of the gateway is this? The one in package.json; the bundle has it built in (build/bundle.ts). */
import about from '../../package.json' with { type: 'json' }

/** Such as `1.2.3`. */
export const VERSION: string = about.version

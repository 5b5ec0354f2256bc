/**
 * Can this Node run the gateway? The first import of main.ts: an old one is refused before it fails half-way, and before
 * anything listens. The syntax here, and in all of the bundle, is one that such a Node can still read (build/bundle.ts).
 */
import { EXIT } from './exit-codes.ts'

/** The oldest release that works; `engines` in package.json says the same. */
const REQUIRED_MAJOR = 24

if (!(Number.parseInt(process.versions.node, 10) >= REQUIRED_MAJOR)) {
  process.stderr.write(
    `workspace-gateway: needs Node ${REQUIRED_MAJOR} or newer; this is Node ${process.versions.node} (${process.execPath})\n`,
  )
  process.exit(EXIT.config)
}

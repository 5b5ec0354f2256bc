/**
 * Can this version of Node run the gateway? This file is the first import of src/main.ts and ends the process on an older Node,
 * before anything listens or fails half-way. An older Node must be able to parse this file and the whole bundle
 * (build/bundle.ts).
 */
import { EXIT } from './exit-codes.ts'

/** The oldest major release that works, as in `engines` of package.json. */
const REQUIRED_MAJOR = 24

if (!(Number.parseInt(process.versions.node, 10) >= REQUIRED_MAJOR)) {
  process.stderr.write(
    `workspace-gateway: needs Node ${REQUIRED_MAJOR} or newer; this is Node ${process.versions.node} (${process.execPath})\n`,
  )
  process.exit(EXIT.config)
}

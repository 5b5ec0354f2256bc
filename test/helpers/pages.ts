/** How does a test look at a page of the gateway's own? As the pages of one workspace. */
import { PageShell } from '../../src/answers/pages/shell.ts'

/** Builds the pages of the workspace houston. */
export const PAGES = new PageShell({ workspace: 'houston', formOrigins: [] })

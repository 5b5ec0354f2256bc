/** What can go wrong on a device? One error with a code for programs and a sentence for people. */

/** What went wrong. */
export type RemoteProblem =
  /** The relay cannot be reached, or refuses this address. */
  | 'relay-unreachable'
  /** The relay has too many connections of this address, or the workspace too many devices. */
  | 'too-many'
  /** No workspace sits at the meeting place. */
  | 'nobody-there'
  /** The relay, or the workspace, did not answer in time. */
  | 'timed-out'
  /** The relay restarts. */
  | 'restart'
  /** The connection ended before the workspace had answered. */
  | 'cut'
  /** What answered is not the workspace, or something has changed what it sent. */
  | 'not-the-workspace'
  /** The link was made earlier than it may be used. */
  | 'link-expired'
  /** The workspace has no device like this any more. */
  | 'revoked'
  /** The owner has not approved this device. */
  | 'not-approved'
  /** There is no open connection to the workspace. */
  | 'not-open'
  /** A request, or a name, has a form that is not allowed. */
  | 'bad-request'
  /** An answer breaks HTTP, or a bound. */
  | 'bad-answer'
  /** The workspace refused, with a status. */
  | 'refused'
  /** The caller has given up. */
  | 'aborted'

/** An error of the device's side. The message is a sentence without a full stop, and holds no secret. */
export class RemoteError extends Error {
  readonly problem: RemoteProblem

  constructor(problem: RemoteProblem, message: string, options?: ErrorOptions) {
    super(message, options)
    this.problem = problem
  }
}

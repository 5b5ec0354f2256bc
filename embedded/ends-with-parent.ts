/**
 * How does a child process end when its parent was killed and could not end it? This module is loaded before the child's program
 * (`--import`) and watches the channel to the parent, which the kernel closes with the parent's process.
 */
process.once('disconnect', () => process.kill(process.pid, 'SIGTERM'))

/**
 * What is in the bundle instead of two checks of what is written in the sources? "Yes." That the plugins are for this version of
 * Fastify (semver), and that no expression of a route takes long (safe-regex2), each test checks that starts the gateway from its sources,
 * and package-lock.json and this file make sure that nothing else starts here.
 */
module.exports = () => true
module.exports.satisfies = () => true

export { DeltaBoxSaver, type DeltaBoxSaverOptions } from './saver.js'

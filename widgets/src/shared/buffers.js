// Binary buffers of custom messages, as front ends hand them over: DataView, typed array or ArrayBuffer, at any offset.

/** @typedef {DataView | ArrayBuffer | ArrayBufferView} Buffer */

/** @param {Buffer} buffer @returns {Uint8Array<ArrayBuffer>} */
export function bytes(buffer) {
  if (buffer instanceof ArrayBuffer) return new Uint8Array(buffer);
  return new Uint8Array(/** @type {ArrayBuffer} */ (buffer.buffer), buffer.byteOffset, buffer.byteLength);
}

/**
 * The bytes from a multiple of `size` on, copied when they do not lie on such a boundary.
 * @param {Buffer} buffer @param {number} size @param {string} name
 */
function aligned(buffer, size, name) {
  const view = bytes(buffer);
  if (view.byteLength % size) throw new Error(`a buffer of ${view.byteLength} bytes does not hold ${name} values`);
  return view.byteOffset % size ? view.slice() : view;
}

/** @param {Buffer} buffer */
export function float64(buffer) {
  const view = aligned(buffer, 8, "float64");
  return new Float64Array(view.buffer, view.byteOffset, view.byteLength / 8);
}

/** @param {Buffer} buffer */
export function float32(buffer) {
  const view = aligned(buffer, 4, "float32");
  return new Float32Array(view.buffer, view.byteOffset, view.byteLength / 4);
}

/** @param {Buffer} buffer */
export function int16(buffer) {
  const view = aligned(buffer, 2, "int16");
  return new Int16Array(view.buffer, view.byteOffset, view.byteLength / 2);
}

/**
 * Row-major values as columns.
 * @param {Float64Array} values @param {number} width
 * @returns {Float64Array[]}
 */
export function columns(values, width) {
  if (values.length % width) throw new Error(`${values.length} values do not make rows of ${width}`);
  const rows = values.length / width;
  return Array.from({ length: width }, (_, c) => Float64Array.from({ length: rows }, (_, r) => values[r * width + c]));
}

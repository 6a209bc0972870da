// Binary buffers of custom messages, as front ends hand them over: DataView, typed array or ArrayBuffer, at any offset.

/**
 * The buffer's float64 values; copied when they do not lie on an 8-byte boundary.
 * @param {DataView | ArrayBuffer | ArrayBufferView} buffer
 * @returns {Float64Array}
 */
export function float64(buffer) {
  const view = buffer instanceof ArrayBuffer ? new Uint8Array(buffer) : new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.byteLength);
  if (view.byteLength % 8) throw new Error(`a buffer of ${view.byteLength} bytes does not hold float64 values`);
  if (view.byteOffset % 8) return new Float64Array(view.slice().buffer);
  return new Float64Array(view.buffer, view.byteOffset, view.byteLength / 8);
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

/** @param {number} number */
export default (number) => number;

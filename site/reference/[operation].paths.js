import { operations, page } from "../operations.js";

export default {
  paths: () => operations.map((operation) => ({ params: { operation: operation.id }, content: page(operation) })),
};

import { operations } from "../operations.js";

export default { load: () => operations.map(({ id, method, path, summary }) => ({ id, method, path, summary })) };

"""Classic mistakes: a line of the solution, what somebody wrote instead, and what the grader has to say about it."""
from typing import NamedTuple


class Wrong(NamedTuple):
    name: str
    task: str
    line: str                     # of the solution
    instead: str
    message: str                  # part of what the student reads


LOOP_X = "np.tensordot(window, w, axes=([1, 2, 3], [1, 2, 3]))"
WRONG = [
    Wrong("kernel flipped", "conv_loops", LOOP_X, LOOP_X.replace(" w,", " w[..., ::-1, ::-1],"), "the kernel is flipped"),
    Wrong("kernel transposed", "conv_loops", LOOP_X, LOOP_X.replace(" w,", " w.swapaxes(2, 3),"), "the kernel is transposed"),
    Wrong("bias forgotten", "conv_loops", "return y + b[:, None, None]", "return y", "the bias is left out"),
    Wrong("averaged", "conv_loops", "return y + b[", "return y / w[0].size + b[", "averaged over the window"),
    Wrong("output size off by one", "conv_loops", "(xp.shape[2] - kh) // stride + 1, (xp.shape[3] - kw) // stride + 1",
          "(xp.shape[2] - kh) // stride, (xp.shape[3] - kw) // stride", "off by one in the output size"),
    Wrong("edge padding", "conv_loops", "(padding, padding)))\n    oh", '(padding, padding)), mode="edge")\n    oh',
          "padded with its border pixels"),
    Wrong("dx not cropped", "conv_loops", "dx = dxp[:, :, padding:padding + height, padding:padding + width].copy()",
          "dx = dxp", "its crop is missing"),
    Wrong("dx assigned", "conv_loops", "dxp[:, :, rows, columns] +=", "dxp[:, :, rows, columns] =", "missing accumulation"),
    Wrong("dw of the last window", "conv_loops", "dw += np", "dw = np", "missing accumulation"),
    Wrong("db averaged", "conv_loops", "dy.sum(axis=(0, 2, 3))", "dy.mean(axis=(0, 2, 3))", "db is averaged"),
    Wrong("dx of the flipped kernel", "conv_loops", "np.tensordot(share, w, axes",
          "np.tensordot(share, w[..., ::-1, ::-1], axes", "flipped kernel"),
    Wrong("last row forgotten", "conv_loops", "for i in range(dy.shape[2]):", "for i in range(dy.shape[2] - 1):",
          "the last row of windows is left out"),

    Wrong("columns in the order k, l, c", "conv_im2col", "return columns.reshape(n, c",
          "return columns.transpose(0, 2, 3, 1, 4, 5).reshape(n, c", "(k, l, c), expected (c, k, l)"),
    Wrong("col2im overwrites", "conv_im2col", "stride] += columns", "stride] = columns", "overwrite each other"),
    Wrong("col2im not cropped", "conv_im2col", "return xp[:, :, padding:padding + height, padding:padding + width].copy()",
          "return xp", "the crop of the padding is missing"),
    Wrong("dw of the first image", "conv_im2col", ".sum(axis=0).reshape(w.shape)", "[0].reshape(w.shape)", "first image only"),

    Wrong("crop missing", "transposed", "return y[:, :, padding:y.shape[2] - padding, padding:y.shape[3] - padding].copy()",
          "return y", "the crop of the padding is missing"),
    Wrong("overlap overwritten", "transposed", "+= added", "= added", "overlap overwrite each other"),
    Wrong("overlap averaged", "transposed", "    return y[:, :, padding:", """    seen = np.zeros_like(y)
    for i in range(height):
        for j in range(width):
            seen[:, :, i * stride:i * stride + kh, j * stride:j * stride + kw] += 1
    y = y / np.maximum(seen, 1)
    return y[:, :, padding:""", "averaged where they should be summed"),
    Wrong("unflipped by zeros", "transposed", "w[:, :, ::-1, ::-1].transpose(1, 0, 2, 3)", "w.transpose(1, 0, 2, 3)",
          "the kernel is not flipped"),
    Wrong("zeros after the last pixel", "transposed", "(height - 1) * stride + 1, (width - 1) * stride + 1)",
          "height * stride, width * stride)", "zeros stand after the last row and column"),
    Wrong("dx of the flipped kernel, transposed", "transposed", "conv2d_forward(dy, w, np",
          "conv2d_forward(dy, w[..., ::-1, ::-1], np", "flipped kernel"),

    Wrong("kernel normalised", "bilinear", "return np.outer(line, line)",
          "return np.outer(line, line) / np.outer(line, line).sum()", "normalised to sum 1"),
    Wrong("even centre", "bilinear", "else factor - 0.5", "else factor", "centre is at size // 2"),
    Wrong("channels mixed", "bilinear", "w[range(c), range(c)] =", "w[:] =", "channels are mixed"),

    Wrong("indices within the window", "pooling", "rows * width + columns", "at", "counted within the window"),
    Wrong("mean pooling", "pooling", "windows.max(axis=", "windows.mean(axis=", "the mean of each window is taken"),
    Wrong("last of equal maxima", "pooling", "windows.reshape(n, c, oh, ow, k * k).argmax(axis=-1)",
          "k * k - 1 - windows.reshape(n, c, oh, ow, k * k)[..., ::-1].argmax(axis=-1)", "of equal maxima the last"),
    Wrong("gradient spread", "pooling", "return max_unpool2d_forward(dy, indices, shape[2:])",
          "return dy.repeat(2, axis=2).repeat(2, axis=3) / 4", "spread evenly over the window"),
    Wrong("bed of nails", "pooling", "np.put_along_axis(x, indices.reshape(n, c, -1), y.reshape(n, c, -1), axis=-1)",
          "x.reshape(n, c, *size)[:, :, :2 * y.shape[2]:2, :2 * y.shape[3]:2] = y", "bed of nails"),

    Wrong("softmax over another axis", "loss", "exps / exps.sum(axis=1,", "exps / exps.sum(axis=-1,", "softmax"),
    Wrong("overflow", "loss", "exps = np.exp(scores - scores.max(axis=1, keepdims=True))", "exps = np.exp(scores)",
          "NaN or infinite"),
    Wrong("void counted as class 0", "loss", "return -right[valid].mean()", "return -right.mean()",
          "void pixels count as class 0"),
    Wrong("summed loss", "loss", "return -right[valid].mean()", "return -right[valid].sum()", "it is summed over the pixels"),
    Wrong("sign of the loss", "loss", "return -right[valid].mean()", "return right[valid].mean()", "the sign is wrong"),
    Wrong("gradient of the sum", "loss", "* valid[:, None] / valid.sum()", "* valid[:, None]",
          "that of the sum over the pixels"),
    Wrong("void in the gradient", "loss", "* valid[:, None] / valid.sum()", "/ valid.sum()", "void pixels count"),
    Wrong("one-hot reshaped", "loss", "one_hot = (np.arange(scores.shape[1])[:, None, None] == target[:, None])",
          "one_hot = np.eye(scores.shape[1])[np.where(valid, target, 0)].reshape(scores.shape)", "one-hot is reshaped"),

    Wrong("argmax over rows", "metrics", "scores.argmax(axis=1)", "scores.argmax(axis=2)", "over axis 2, expected axis 1"),
    Wrong("confusion transposed", "metrics", "num_classes * target[valid].astype(np.int64) + prediction[valid]",
          "num_classes * prediction[valid].astype(np.int64) + target[valid]", "it is transposed"),
    Wrong("void as a class", "metrics", "valid = target != VOID", "target = target % VOID; valid = target >= 0",
          "void pixels count as class 0"),
    Wrong("union too large", "metrics", "confusion.sum(axis=1) - intersection", "confusion.sum(axis=1)",
          "intersection is not subtracted"),
    Wrong("absent class counts", "metrics", "(intersection[union > 0] / union[union > 0]).mean()",
          "(intersection / np.maximum(union, 1)).mean()", "counts as 0, expected not at all"),

    Wrong("no skips", "decoder", "self.upscore2(self.score3(eighth)) + self.score2(quarter)",
          "self.upscore2(self.score3(eighth))", "the skip connection from the 1/4 features is missing"),
    Wrong("softmax in the model", "decoder", "return self.upscore0(fuse1)",
          "return ts.functional.softmax(self.upscore0(fuse1), 1)", "a softmax stands behind the scores"),
    Wrong("graph cut", "decoder", "self.score1(half)", "self.score1(half).detach()", "no gradient reaches score1"),
    Wrong("gradients accumulate", "stages", "        optimizer.zero_grad()\n", "", "zero_grad"),
    Wrong("evaluated in training mode", "stages", "    model.eval()\n", "", "model.eval()"),
]
